"""A process that relays: ``python -m tests.bench.events.relay DATABASE NATS``, until its input ends.

It says when it began, by a clock that all processes of the machine share.
"""

import asyncio
import sys
import time

from carrick.messaging.nats import NatsBroker
from carrick.observe import ignore
from carrick.outbox import Relay
from carrick.store.postgres import PostgresDatabase
from carrick.store.postgres_signal import PostgresSignal

__all__: list[str] = []


async def _main(url: str, nats_url: str) -> None:
    async with PostgresDatabase(url) as database, NatsBroker(nats_url, name="relay") as broker:
        relay, signal = Relay(database, broker, observe=ignore), PostgresSignal(url)
        signal.listen(relay.wake)
        print(time.monotonic(), flush=True)
        async with signal, relay:
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:3]))
