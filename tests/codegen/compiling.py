"""Contracts compiled, in this process, to the request that a plugin gets."""

import textwrap
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import status_pb2
from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
PROTOVALIDATE = ROOT / "third_party" / "protovalidate"
WELL_KNOWN = Path(protoc.__file__).parent / "_proto"
GOOGLE = Path(status_pb2.__file__).parents[2]
INCLUDES = [f"-I{include}" for include in (PROTO, PROTOVALIDATE, WELL_KNOWN, GOOGLE)]

HEADER = """syntax = "proto3";
package acme.v1;
import "carrick/v1/options.proto";
"""


def contract(body: str) -> str:
    """Return a contract file whose fourth line is the first of ``body``."""
    return HEADER + textwrap.dedent(body).lstrip("\n")


def compile_folder(folder: Path, *paths: str, parameter: str = "") -> CodeGeneratorRequest:
    """Compile files below ``folder``, all of them unless some are named."""
    wanted = sorted(paths or (str(path.relative_to(folder)) for path in folder.rglob("*.proto")))
    compiled = folder / "compiled.binpb"
    flags = [f"-I{folder}", *INCLUDES, "--include_imports", "--include_source_info", f"--descriptor_set_out={compiled}"]
    assert protoc.main(["protoc", *flags, *wanted]) == 0, f"protoc refused {wanted}"
    files = FileDescriptorSet.FromString(compiled.read_bytes()).file
    compiled.unlink()
    return CodeGeneratorRequest(file_to_generate=wanted, proto_file=files, parameter=parameter)


def compile_files(folder: Path, parameter: str = "", **bodies: str) -> CodeGeneratorRequest:
    """Compile one file for each keyword, ``orders="..."`` as ``acme/v1/orders.proto``."""
    for name, body in bodies.items():
        path = folder / "acme" / "v1" / f"{name}.proto"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contract(body), "utf-8")
    return compile_folder(folder, *(f"acme/v1/{name}.proto" for name in bodies), parameter=parameter)
