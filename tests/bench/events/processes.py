"""The processes of a run: each tells what it has to tell in lines, and none of them outlives the run."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

__all__ = ["Heard", "consumer", "heard", "line", "process"]

_LONGEST = 256 * 1024 * 1024
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a consumer tells in the end."""

    began: float
    ended: float
    handled: dict[str, float]
    """When the effect of each event was committed, by the event's id."""


@asynccontextmanager
async def process(module: str, *arguments: str) -> AsyncIterator[Process]:
    """Start a module of the bench; end it by the end of its input, or by force."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.bench.{module}", *arguments), stdin=PIPE, stdout=PIPE, limit=_LONGEST
    )
    try:
        yield started
        assert started.stdin is not None
        started.stdin.close()
        async with asyncio.timeout(_PATIENCE):
            await started.wait()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    assert started.returncode == 0, (module, started.returncode)


@asynccontextmanager
async def consumer(
    nats_url: str, name: str, kind: str, where: str, count: int, *, note: bool = False
) -> AsyncIterator[Process]:
    """Start a consumer, and wait until it reads."""
    arguments = (nats_url, name, kind, where, str(count), *(["note"] if note else []))
    async with process("events.consumer", *arguments) as started:
        assert await line(started) == "ready"
        yield started


async def heard(started: Process) -> Heard:
    """Wait until a consumer has handled everything."""
    return Heard(**json.loads(await line(started)))


async def line(started: Process) -> str:
    """Wait for the next thing that a process tells."""
    assert started.stdout is not None
    async with asyncio.timeout(_PATIENCE):
        said = await started.stdout.readline()
    if not said:
        raise RuntimeError("a process of the bench ended early; what it says is above; is the machine too busy?")
    return said.decode().strip()
