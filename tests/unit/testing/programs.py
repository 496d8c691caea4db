"""Parts of a test that run as processes of their own, and are ended by their id whatever happens."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

__all__ = ["ROOT", "Program", "program", "until", "until_closed"]

ROOT = Path(__file__).parents[3]

Program: TypeAlias = subprocess.Popen[str]


@contextmanager
def program(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> Iterator[Program]:
    """Run ``python <command>`` beside the block; it is killed when the block ends before it does."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def until(condition: Callable[[], bool | Awaitable[bool]], *, timeout: float = 20.0) -> None:
    """Return when ``condition()`` is true; raise ``TimeoutError`` when it does not come true."""
    async with asyncio.timeout(timeout):
        while not await _result(condition()):  # noqa: ASYNC110  # nobody sets an event for it
            await asyncio.sleep(0.01)


async def until_closed() -> None:
    """Wait for the end of aiosqlite's threads: each open connection has one, and it must not outlive its loop."""
    await until(lambda: not any("_connection_worker_thread" in thread.name for thread in threading.enumerate()))


async def _result(value: bool | Awaitable[bool]) -> bool:
    return value if isinstance(value, bool) else await value
