"""The ``carrick`` command as users run it: what it prints and the status it ends with."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carrick.settings import ServiceSettings
from tests.unit.testing.programs import Program, program

RUN = ("-c", "from carrick.cli import main; main()", "run")
APP = """
from contextlib import asynccontextmanager

from carrick.app import App
from carrick.messaging.nats import NatsBroker
from carrick.settings import ServiceSettings
from carrick.store.sqlite import SqliteDatabase


@asynccontextmanager
async def part(name):
    print(name, "starts", flush=True)
    try:
        yield
    finally:
        print(name, "stops", flush=True)


def app():
    settings = ServiceSettings.load()
    return App(
        "shop",
        part("first"),
        SqliteDatabase(settings.database, startup_timeout=settings.startup_timeout),
        NatsBroker(settings.nats_url, name="shop", startup_timeout=settings.startup_timeout),
        part("last"),
    )


def plain():
    return App("shop", part("first"), part("second"))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a service in it."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "app.py").write_text(APP)
    return tmp_path


def _command() -> list[str]:
    return [str(Path(sys.executable).parent / "carrick")]


def _run(*arguments: str, folder: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_command(), *arguments],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def _line(process: Program) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await asyncio.to_thread(process.stdout.readline)).strip()


async def _end(process: Program) -> tuple[str, str]:
    async with asyncio.timeout(20):
        return await asyncio.to_thread(process.communicate)


def test_help_lists_the_commands() -> None:
    """``--help`` and no arguments both show what there is."""
    result = _run("--help")
    assert result.returncode == 0
    assert all(command in result.stdout for command in ("run", "new", "generate", "proto-path"))
    assert "services that call each other and must not lose work" in result.stdout
    assert "Usage" in _run().stdout + _run().stderr


def test_the_help_of_run_lists_the_settings() -> None:
    """Each variable that every service reads."""
    words = _run("run", "--help").stdout.replace(",", " ").split()
    assert {f"CARRICK_{field.upper()}" for field in ServiceSettings.model_fields} <= set(words)


def test_the_version_is_shown() -> None:
    """``--version`` prints it and nothing else."""
    result = _run("--version")
    assert (result.returncode, result.stdout) == (0, "0.1.0\n")


def test_proto_path_holds_the_options() -> None:
    """What it prints can be handed to protoc as it is."""
    result = _run("proto-path")
    assert result.returncode == 0
    assert (Path(result.stdout.strip()) / "carrick" / "v1" / "options.proto").is_file()


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("missing", "there is no module missing.app; run the command in the folder that holds it"),
        ("./shop", "there is no module ./shop.app; run the command in the folder that holds it"),
        ("shop.app:make", "shop.app has no function make()"),
    ],
)
def test_a_bad_target_is_one_line(folder: Path, target: str, complaint: str) -> None:
    """A name that leads nowhere ends with status 2 and one line that says what to do."""
    result = _run("run", target, folder=folder)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"carrick: {complaint}\n")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("CARRICK_PORT", "-1", "carrick: bad settings: CARRICK_PORT: "),
        ("CARRICK_STARTUP_TIMEOUT", "soon", "carrick: bad settings: CARRICK_STARTUP_TIMEOUT: "),
        ("CARRICK_NATS_ULR", "x", "carrick: bad settings: CARRICK_NATS_ULR is no setting; did you mean CARRICK_NATS_U"),
        ("CARRICK_NATS_URL", "http://user:secret@x", "carrick: the NATS URL must look like nats://127.0.0.1:4222"),
    ],
)
def test_a_bad_setting_is_one_line(folder: Path, name: str, value: str, complaint: str) -> None:
    """A wrong environment ends with status 2 and one line that names the variable, before anything was started."""
    result = _run("run", "shop", folder=folder, **{name: value})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(complaint)
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_nats_away_at_the_start_is_one_line(folder: Path) -> None:
    """Status 1 and one line after the start-up time; the parts that had started were stopped."""
    result = _run(
        "run", "shop", folder=folder, CARRICK_NATS_URL="nats://u:secret@127.0.0.1:1", CARRICK_STARTUP_TIMEOUT="0.3"
    )
    assert result.returncode == 1
    assert result.stdout.splitlines() == ["first starts", "first stops"]
    assert result.stderr.splitlines()[-1] == "carrick: no NATS server at 127.0.0.1:1 within 0.3 s"
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr


def test_a_database_away_at_the_start_is_one_line(folder: Path) -> None:
    """Status 1 and one line, and the process ends: no thread of the driver holds it."""
    result = _run("run", "shop", folder=folder, CARRICK_DATABASE="missing/x.db", CARRICK_STARTUP_TIMEOUT="0.3")
    assert result.returncode == 1
    assert result.stdout.splitlines() == ["first starts", "first stops"]
    assert result.stderr.splitlines()[-1].startswith("carrick: missing/x.db was not available for 0.3 s: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_parts_in_reverse(folder: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end with status 0 after everything was stopped, last part first."""
    with program(*RUN, "shop.app:plain", cwd=folder) as process:
        assert await _line(process) == "first starts"
        assert await _line(process) == "second starts"
        process.send_signal(number)
        out, err = await _end(process)
    assert (process.returncode, out.splitlines()) == (0, ["second stops", "first stops"]), err


async def test_a_signal_during_the_start_up_wait_ends_it(folder: Path) -> None:
    """A service that waits for NATS ends promptly and cleanly: nobody has to kill it."""
    env = {"CARRICK_NATS_URL": "nats://127.0.0.1:1", "CARRICK_STARTUP_TIMEOUT": "3600"}
    with program(*RUN, "shop", cwd=folder, env=env) as process:
        assert await _line(process) == "first starts"
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        out, err = await _end(process)
    assert (process.returncode, out.splitlines()) == (0, ["first stops"]), err
    assert "Traceback" not in err
