"""One process of ``make bench-rpc``: a server or a client of one side. Speaks JSON lines with the bench."""

import asyncio
import json
import sys
import time
from importlib import import_module

from tests.bench.sides.work import ORDER, REQUEST, Call, Side


def module(side: str) -> Side:
    """Return the module of a side."""
    found: Side = import_module(f"tests.bench.sides.{side}")
    return found


async def serve(side: str) -> None:
    """Say the address, then the CPU seconds of this process whenever a line comes, until the input ends."""
    async with module(side).server() as address:
        say(address)
        while await asyncio.to_thread(sys.stdin.readline):
            say(time.process_time())


async def call(side: str, address: str, concurrency: int) -> None:
    """For each line, a number of seconds, call that long; say how often, how long, and at what CPU time."""
    async with module(side).client(address) as invoke:
        assert await invoke(REQUEST) == ORDER
        while line := await asyncio.to_thread(sys.stdin.readline):
            started, cpu = time.monotonic(), time.process_time()
            until = started + float(line)
            calls = sum(await asyncio.gather(*(calls_until(until, invoke) for _ in range(concurrency))))
            say({"calls": calls, "seconds": time.monotonic() - started, "cpu": time.process_time() - cpu})


async def calls_until(until: float, invoke: Call) -> int:
    """Call one after the other until the time is over; return how often."""
    calls = 0
    while time.monotonic() < until:
        await invoke(REQUEST)
        calls += 1
    return calls


def say(what: object) -> None:
    """Write a line for the bench."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "serve":
        asyncio.run(serve(arguments[0]))
    else:
        asyncio.run(call(arguments[0], arguments[1], int(arguments[2])))
