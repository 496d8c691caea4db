"""Tutorials in documents, done word for word: blocks that are marked so are files, commands and what they print."""

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


def steps(document: str, own: dict[str, str]) -> list[Step]:
    """Return the blocks of a document's tutorial, with the test's own folder and ports put in."""
    text = (ROOT / document).read_text()
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


@contextmanager
def followed(blocks: list[Step], folder: Path, logs: Path) -> Iterator[list[Path]]:
    """Do every step, and see that each prints what the document says; give the logs of what runs in the background."""
    printed = ""
    written: list[Path] = []
    with ExitStack() as terminals:
        for step in blocks:
            if step.language == "text":
                assert printed == step.text
            elif step.language != "sh":
                path = folder / step.what
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.text)
            elif step.what == "background":
                written.append(logs / f"terminal-{len(written)}.log")
                terminals.enter_context(background(step.text, folder, written[-1]))
            else:
                printed = run(step.text, folder)
        yield written
