"""The plugin under the compilers that run it: buf and protoc."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.codegen.compiling import PROTO, PROTOVALIDATE, ROOT

BIN = Path(sys.executable).parent
TEMPLATE = """version: v2
inputs:
  - directory: {proto}
    paths: [{path}]
plugins:
  - local: protoc-gen-carrick
    out: {out}
    opt: [{opt}]
"""
ORDERS = PROTO / "shop" / "orders" / "v1" / "orders.proto"
COMMITTED = ROOT / "services" / "gen" / "shop" / "orders" / "v1" / "orders_carrick.py"

BAD = """syntax = "proto3";
package acme.v1;
import "carrick/v1/options.proto";
service Orders {
  rpc Get(M) returns (M) {
    option (carrick.v1.method) = {
      timeout: "2s"
      retry: {
        max_attempts: 0
        codes: [ABORTED, OK]
      }
      idempotency: {
        expiry: "1h"
      }
    };
  }
}
message M {}
"""


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a compiler, with the programs of this environment on its path."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def buf(proto: Path, path: Path, out: Path, opt: str = "") -> subprocess.CompletedProcess[str]:
    """Run `buf generate` for the files at ``path`` in the module ``proto``."""
    template = out / "buf.gen.yaml"
    template.write_text(TEMPLATE.format(proto=proto, path=path, out=out, opt=opt), "utf-8")
    return run("buf", "generate", "--template", str(template), folder=out)


def protoc(proto: Path, path: Path, out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run protoc for one file below ``proto``."""
    plugin = f"--plugin=protoc-gen-carrick={BIN / 'protoc-gen-carrick'}"
    includes = [f"-I{folder}" for folder in (proto, PROTO, PROTOVALIDATE)]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, plugin]
    return run(*command, f"--carrick_out={out}", *flags, str(path), folder=out)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A module with a contract that has mistakes, beside its own copy of the options."""
    proto = tmp_path / "bad"
    for path, text in {
        "carrick/v1/options.proto": (PROTO / "carrick/v1/options.proto").read_text("utf-8"),
        "acme/v1/orders.proto": BAD,
    }.items():
        (proto / path).parent.mkdir(parents=True)
        (proto / path).write_text(text, "utf-8")
    return proto


@pytest.mark.parametrize("compiler", [buf, protoc])
def test_both_compilers_give_the_committed_file(compiler: object, tmp_path: Path) -> None:
    """Buf and protoc hand the plugin requests that give the same file."""
    result = buf(PROTO, ORDERS, tmp_path) if compiler is buf else protoc(PROTO, ORDERS, tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "shop/orders/v1/orders_carrick.py").read_text("utf-8") == COMMITTED.read_text("utf-8")


def test_buf_shows_errors_at_the_value(bad: Path, tmp_path: Path) -> None:
    """Buf records where each value stands, so errors point at it."""
    result = buf(bad, bad / "acme", tmp_path)
    assert result.returncode != 0
    assert [line.partition("acme/")[2] for line in result.stderr.splitlines()] == [
        "v1/orders.proto:9:9: max_attempts must be 1 to 100 (1 turns retries off), not 0",
        "v1/orders.proto:10:9: codes must not hold OK: a success is not tried again; take OK out",
        (
            "v1/orders.proto:13:9: idempotency has no key; "
            "add key: REQUIRED, or key: OPTIONAL to let calls without a key in"
        ),
    ]
    assert not list(tmp_path.rglob("*_carrick.py"))


def test_protoc_shows_errors_at_the_option(bad: Path, tmp_path: Path) -> None:
    """Protoc records where each option begins, so errors point there."""
    result = protoc(bad, bad / "acme/v1/orders.proto", tmp_path)
    assert result.returncode != 0
    assert len(result.stderr.strip().splitlines()) == 3
    assert all("acme/v1/orders.proto:6:5: " in line for line in result.stderr.strip().splitlines())
    assert not list(tmp_path.rglob("*_carrick.py"))


def test_parameters_through_both_compilers(tmp_path: Path) -> None:
    """`opt:` of buf and `--carrick_opt` of protoc reach the plugin."""
    unknown = 'unknown parameter "nonsense"; known are: allow_carrick=true|false, relative_imports=true|false'
    assert unknown in buf(PROTO, ORDERS, tmp_path, opt="nonsense").stderr
    assert unknown in protoc(PROTO, ORDERS, tmp_path, "--carrick_opt=nonsense").stderr


def test_the_options_themselves_are_refused(tmp_path: Path) -> None:
    """A user who forgets to leave carrick/v1/options.proto out of buf's inputs is told so."""
    result = buf(PROTO, PROTO / "carrick", tmp_path)
    assert "files of the package carrick are not generated" in result.stderr
    allowed = buf(PROTO, PROTO / "carrick", tmp_path, opt="allow_carrick=true")
    assert allowed.returncode == 0, allowed.stderr


def test_random_bytes_on_the_real_stdin() -> None:
    """The installed program answers garbage with one sentence and status 1."""
    result = subprocess.run([BIN / "protoc-gen-carrick"], input=b"\xff\x00garbage", capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.count(b"\n") == 1
    assert b"Traceback" not in result.stderr
