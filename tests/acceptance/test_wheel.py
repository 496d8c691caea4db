"""The wheel as a user has it: in an empty environment, with a contract of their own."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import carrick

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0

CONTRACT = """syntax = "proto3";
package echo.v1;
import "carrick/v1/options.proto";
service Echo {
  rpc Say(SayRequest) returns (SayResponse) {
    option (carrick.v1.method) = { timeout: "5s" retry: {max_attempts: 2} breaker: {failure_ratio: 0.5} };
  }
}
message SayRequest { string text = 1; }
message SayResponse { string text = 1; }
"""
PROGRAM = """
import asyncio
from carrick import Context
from carrick.rpc import Channel, Server
from echo.v1.echo_carrick import EchoClient, EchoServicer
from echo.v1.echo_pb2 import SayRequest, SayResponse


class Echo(EchoServicer):
    async def say(self, request: SayRequest, ctx: Context) -> SayResponse:
        return SayResponse(text=request.text)


async def main() -> None:
    async with Server(Echo()) as server, Channel(server.address) as channel:
        print((await EchoClient(channel).say(SayRequest(text="It holds."))).text)


asyncio.run(main())
"""


def run(*command: str | Path, folder: Path) -> str:
    """Run a command without anything of this environment, and return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    path = os.pathsep.join([str(Path(command[0]).parent), "/usr/bin", "/bin"])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, "PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as ``make wheel`` does."""
    folder = tmp_path_factory.mktemp("dist")
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir")
    run(sys.executable, "-m", "pip", "wheel", *options, folder, ROOT, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_what_it_needs_and_nothing_else(wheel: Path) -> None:
    """Contracts, plugin, templates, SQL and the types' marker; no tests, no example, no generated shop."""
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = f"carrick-{carrick.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"carrick", "carrick_codegen", metadata}
    assert names >= {
        "carrick/py.typed",
        "carrick/_proto/carrick/v1/options.proto",
        "carrick/v1/options_pb2.py",
        "carrick/v1/options_pb2.pyi",
        "carrick/outbox/sql/sqlite/0001_outbox.sql",
        "carrick/store/sql/postgresql/0001_idempotency_and_inbox.sql",
        "carrick_codegen/plugin.py",
    }
    source = ROOT / "framework"
    committed = {path.relative_to(source).as_posix() for path in source.rglob("*.template")}
    assert {name for name in names if name.endswith(".template")} == committed
    assert len(committed) > 15


def test_a_user_generates_serves_and_calls(wheel: Path, tmp_path: Path) -> None:
    """Without extras calls can be made; with ``codegen`` both ways of generating give a service that answers."""
    home, folder = tmp_path / "venv", tmp_path / "project"
    python = home / "bin" / "python"
    venv.create(home, symlinks=True)
    (folder / "proto" / "echo" / "v1").mkdir(parents=True)
    (folder / "proto" / "echo" / "v1" / "echo.proto").write_text(CONTRACT)
    (folder / "program.py").write_text(PROGRAM)
    constraints = tmp_path / "constraints.txt"
    pins = re.findall(r"^[\w.-]+==[^\s\\]+(?: ;[^\\\n]+)?", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    constraints.write_text("\n".join(pins))
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    install = (*pip, "install", "--quiet", "--no-compile", "--constraint", constraints)

    run(*install, wheel, folder=folder)
    run(python, "-c", "import carrick.rpc; carrick.rpc.Server; carrick.rpc.Channel", folder=folder)
    missing = subprocess.run(
        [home / "bin" / "carrick", "generate"], cwd=folder, capture_output=True, text=True, check=False, env={}
    )
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("carrick: there is neither buf nor grpc_tools.protoc here; run: pip install ")

    run(*install, f"{wheel}[codegen]", folder=folder)
    assert run(home / "bin" / "carrick", "generate", folder=folder).endswith(" written, 0 removed\n")
    assert run(python, "program.py", folder=folder) == "It holds.\n"
    for path in (folder / "echo" / "v1").glob("*.py*"):
        path.unlink()
    protos = run(home / "bin" / "carrick", "proto-path", folder=folder).strip()
    protoc = (python, "-m", "grpc_tools.protoc", "-I", "proto", "-I", protos)
    run(*protoc, "--python_out=.", "--pyi_out=.", "--carrick_out=.", "echo/v1/echo.proto", folder=folder)
    assert run(python, "program.py", folder=folder) == "It holds.\n"
    assert run(home / "bin" / "carrick", "new", "greeter", folder=folder).startswith("made greeter; ")
