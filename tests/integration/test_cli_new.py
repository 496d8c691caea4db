"""``carrick new``: what it makes passes its test and the checks, and serves a call, as it is."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carrick.ids import random_id
from carrick.store import database_at
from carrick.testing import NatsServer
from tests.unit.testing.programs import program

BIN = Path(sys.executable).parent
CALL = """
import asyncio, sys
from carrick.rpc import Channel
from {package}.v1.{package}_carrick import {service}Client
from {package}.v1.{package}_pb2 import AddEntryRequest

async def main():
    async with Channel(sys.argv[1]) as channel:
        print((await {service}Client(channel).add_entry(AddEntryRequest(text="It holds."))).number)

asyncio.run(main())
"""

PRICES = """
from carrick import CarrickError, Code
from google.rpc.error_details_pb2 import ErrorInfo
from price_book.v1.price_book_carrick import PriceBookClient
from price_book.v1.price_book_pb2 import AddEntryRequest, AddEntryResponse


async def add(client: PriceBookClient) -> AddEntryResponse:
    return await client.add_entry(AddEntryRequest())


def unknown() -> CarrickError:
    return CarrickError(Code.NOT_FOUND, "no such thing", [ErrorInfo(reason="UNKNOWN", domain="order-desk")])
"""


def _run(*command: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new service, made by the command."""
    folder = tmp_path_factory.mktemp("new")
    assert _run("carrick", "new", "order-desk", folder=folder).startswith("made order-desk; now: cd order-desk && ")
    return folder / "order-desk"


def test_its_test_passes(project: Path) -> None:
    """At once, without a server of any kind."""
    assert "1 passed" in _run("python", "-m", "pytest", "-p", "no:cacheprovider", folder=project)


def test_it_passes_the_checks(project: Path) -> None:
    """Its generated code is up to date, its types are strict, and its code and image are as linters want them."""
    assert _run("carrick", "generate", "--check", folder=project) == "generated code is up to date\n"
    assert "no issues found" in _run("mypy", "--strict", ".", folder=project)
    own = [str(path) for path in project.rglob("*.py") if path.parent.name != "v1"]
    _run("ruff", "format", "--check", "--isolated", "--line-length", "120", *own, folder=project)
    _run("ruff", "check", "--isolated", "--line-length", "120", "--select", "E,F,I,UP,B", *own, folder=project)
    assert _run("hadolint", "Dockerfile", folder=project) == ""


def test_a_contract_of_another_service_can_be_added(project: Path, tmp_path: Path) -> None:
    """As the project's README says: its client passes mypy, which knows its messages; so do details of errors."""
    folder = tmp_path / "order-desk"
    shutil.copytree(project, folder)
    _run("carrick", "new", "price-book", folder=tmp_path)
    shutil.copytree(tmp_path / "price-book" / "proto" / "price_book", folder / "proto" / "price_book")
    _run("carrick", "generate", folder=folder)
    settings = folder / "pyproject.toml"
    own = '"order_desk.v1.order_desk_pb2"'
    settings.write_text(settings.read_text().replace(own, f'{own}, "price_book.v1.price_book_pb2"'))
    (folder / "order_desk" / "prices.py").write_text(PRICES)
    assert "no issues found" in _run("mypy", ".", folder=folder)
    (folder / "order_desk" / "prices.py").write_text(PRICES.replace("AddEntryRequest(", "AddEntryResponse("))
    with pytest.raises(AssertionError, match="incompatible type"):
        _run("mypy", ".", folder=folder)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_it_serves_a_call(project: Path, nats_server: NatsServer, postgres_url: str, kind: str) -> None:
    """``carrick run`` with a real NATS server: the call is answered, and a signal ends it cleanly.

    One setting says on which database.
    """
    database = f"{random_id()}.db" if kind == "sqlite" else postgres_url
    env = {"CARRICK_NATS_URL": nats_server.url, "CARRICK_DATABASE": database, "CARRICK_LOG_FORM": "text"}
    run = ("-c", "from carrick.cli import main; main()", "run", "order_desk")
    with program(*run, cwd=project, env=env) as process:
        address = ""
        assert process.stderr is not None
        async with asyncio.timeout(20):
            while not address:
                line = await asyncio.to_thread(process.stderr.readline)
                address = line.rpartition("serving on ")[2].split()[0] if "serving on " in line else ""
        call = CALL.format(package="order_desk", service="OrderDesk")
        assert await asyncio.to_thread(_run, "python", "-c", call, address, folder=project) == "1\n"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
    async with database_at(str(project / database) if kind == "sqlite" else database) as opened, opened.read() as tx:
        assert [row.text for row in (await tx.execute("SELECT text FROM entries")).all()] == ["It holds."]
        assert [row.published_at is None for row in (await tx.execute("SELECT * FROM carrick_outbox")).all()] == [False]
