"""Code generated for all contracts of a package in one run, as its users would have it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.codegen.real.corpus import Corpus, merged

__all__ = ["Generated", "generate"]

PLUGIN = Path(sys.executable).parent / "protoc-gen-carrick"
PROVIDED = ("google/protobuf/", "carrick/")
"""Folders of files whose messages are installed: protobuf's own, and the options."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What a package's contracts gave."""

    corpus: Corpus
    folder: Path
    """Where the generated modules lie; to be on the path."""
    files: FileDescriptorSet
    """The contracts, as the compiler saw them."""
    modules: dict[str, str]
    """The generated module of each contract file that has one."""
    faults: tuple[str, ...]
    """What the compiler and the plugin said; nothing was generated then."""


def generate(corpus: Corpus, imports: Corpus, folder: Path) -> Generated:
    """Generate messages, their types and services for every file of a package; ``imports`` may have what they import.

    They come to lie beside the package's own modules, which are copied.
    """
    out = folder / "out"
    out.mkdir(parents=True)
    _copy(corpus, out)
    known, seen = folder / "known.binpb", folder / "seen.binpb"
    known.write_bytes(merged([corpus, imports]).SerializeToString())
    inputs = [f"-I{corpus.root}"] if corpus.protos else [f"--descriptor_set_in={known}"]
    messages = [f"--python_out={out}", f"--pyi_out={out}"]
    services = [f"--plugin=protoc-gen-carrick={PLUGIN}", f"--carrick_out={out}"]
    described = [f"--descriptor_set_out={seen}", "--include_imports"]
    faults = _protoc(*inputs, *messages, *services, *described, *corpus.paths)
    if faults:
        return Generated(corpus, out, FileDescriptorSet(), {}, faults)
    files = FileDescriptorSet.FromString(seen.read_bytes()).file
    own = [file for file in files if file.name in corpus.paths]
    imported = [file.name for file in files if file not in own and not file.name.startswith(PROVIDED)]
    faults = _protoc(*inputs, *messages, *imported) if imported else ()
    return Generated(corpus, out, FileDescriptorSet(file=own), dict(_modules(own, out)), faults)


def _copy(corpus: Corpus, out: Path) -> None:
    for module in corpus.modules:
        (out / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(corpus.root / module, out / module)


def _protoc(*arguments: str) -> tuple[str, ...]:
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (line for line in result.stderr.splitlines() if ": warning: " not in line)
    return tuple(said) if result.returncode else ()


def _modules(files: Sequence[FileDescriptorProto], out: Path) -> Iterator[tuple[str, str]]:
    for file in files:
        path = file.name.removesuffix(".proto").replace("-", "_").replace(".", "/") + "_carrick.py"
        if (out / path).exists():
            yield file.name, path.removesuffix(".py").replace("/", ".")
