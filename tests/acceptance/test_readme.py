"""The README's tutorial, done word for word: only the folder and the two ports are the test's own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(?P<language>\w+) tutorial ?(?P<what>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE = 60.0


@dataclass(frozen=True)
class Step:
    """One fenced block of the tutorial."""

    language: str
    what: str
    text: str


def steps(own: dict[str, str]) -> list[Step]:
    """Return the tutorial's blocks, with the test's own folder and ports put in."""
    text = (ROOT / "README.md").read_text()
    for theirs, ours in own.items():
        assert theirs in text, f"the tutorial no longer mentions {theirs}"
        text = text.replace(theirs, ours)
    return [Step(match["language"], match["what"], match["text"]) for match in BLOCK.finditer(text)]


def free_port() -> str:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run(script: str, folder: Path) -> str:
    """Run a block in bash and return what it printed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def background(script: str, folder: Path, log: Path) -> Iterator[None]:
    """Run a block as in a terminal of its own, from when it is ready to the end of the test."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(log, "ready")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def wait_for(log: Path, text: str) -> None:
    """Return once the log holds the text."""
    deadline = time.monotonic() + PATIENCE
    while text not in log.read_text():
        assert time.monotonic() < deadline, f"{text!r} never came:\n{log.read_text()}"
        time.sleep(0.05)


def test_the_tutorial_works_word_for_word(tmp_path: Path) -> None:
    """A newcomer who copies every block gets the printed output, and the greeter hears of it once."""
    folder = tmp_path / "tutorial"
    own = {"/tmp/tutorial": str(folder), "4222": free_port(), "50051": free_port()}  # noqa: S108
    blocks = steps(own)
    assert run(blocks[0].text + "pwd", ROOT).endswith(f"{folder}\n")
    printed = ""
    logs: list[Path] = []
    with ExitStack() as terminals:
        for step in blocks[1:]:
            if step.language == "text":
                assert printed == step.text
            elif step.language != "sh":
                path = folder / step.what
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.text)
            elif step.what == "background":
                logs.append(tmp_path / f"terminal-{len(logs)}.log")
                terminals.enter_context(background(step.text, folder, logs[-1]))
            else:
                printed = run(step.text, folder)
        wait_for(logs[-1], "Ada wrote: It holds.")
        time.sleep(0.5)  # a second greeting would come now
        greetings = [line for line in logs[-1].read_text().splitlines() if "Ada wrote" in line]
    assert len(greetings) == 1
    assert re.search(r"\[[0-9a-f]{32}\]", greetings[0]), "the greeting has no correlation id"


def test_the_tutorial_names_the_mistake_that_it_suggests(tmp_path: Path) -> None:
    """A timeout of zero makes the generator fail with the line and what to write instead, and write nothing."""
    blocks = steps({"/tmp/tutorial": str(tmp_path)})  # noqa: S108
    contract = next(step for step in blocks if step.language == "proto")
    path = tmp_path / contract.what
    path.parent.mkdir(parents=True)
    path.write_text(contract.text.replace('timeout: "2s"', 'timeout: "0s"'))
    generate = next(step.text for step in blocks if "grpc_tools" in step.text)
    failed = subprocess.run(
        ["bash", "-c", generate.replace("--python_out=. --pyi_out=. ", "")],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert failed.returncode != 0
    assert re.search(r"guestbook\.proto:\d+:\d+: .*timeout", failed.stderr), failed.stderr
    assert not list(tmp_path.rglob("*_carrick.py"))
