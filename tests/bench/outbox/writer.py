"""A process that places orders at a steady rate: ``python -m tests.bench.outbox.writer URL RATE SECONDS``.

It prints when each event's commit had returned, by a clock that all processes of the machine share.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from carrick.outbox import Outbox
from carrick.store.postgres import PostgresDatabase
from carrick.store.postgres_signal import PostgresSignal
from carrick.store.transaction import Database
from tests.bench.outbox.orders import place

__all__ = ["WARM_UP", "Written", "in_transaction", "place_orders"]

Written: TypeAlias = Mapping[str, float]
"""When the commit had returned, by the event's id, in the order of the commits."""

WARM_UP = 1.0


async def place_orders(place_one: Callable[[int], Awaitable[str]], rate: int, seconds: float) -> Written:
    """Place orders at fixed times, for ``WARM_UP`` and then for ``seconds``."""
    written: dict[str, float] = {}

    async def one(number: int) -> None:
        event_id = await place_one(number)
        written[event_id] = time.monotonic()

    began = time.monotonic()
    async with asyncio.TaskGroup() as orders:
        for number in range(int((WARM_UP + seconds) * rate)):
            await asyncio.sleep(began + number / rate - time.monotonic())
            orders.create_task(one(number))
    return written


def in_transaction(database: Database, outbox: Outbox) -> Callable[[int], Awaitable[str]]:
    """Return what places an order by its number, and returns the event's id."""

    async def one(number: int) -> str:
        async with database.transaction() as tx:
            return await place(tx, outbox, number)

    return one


async def _main(url: str, rate: int, seconds: float) -> None:
    async with PostgresDatabase(url) as database, PostgresSignal(url) as signal:
        place_one = in_transaction(database, Outbox("orders", wake=signal.send))
        print(json.dumps(await place_orders(place_one, rate, seconds)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
