"""A process that consumes events: ``python -m tests.bench.events.consumer NATS NAME KIND WHERE COUNT``.

``KIND`` is what handles them: ``row`` applies each with a business row of its own, ``inbox`` has no effect beside the
row in the inbox, ``none`` has neither inbox nor effect, and ``bare`` is nats-py without Carrick. It says ``ready`` when
it reads everything. When all are handled it says when, by a clock that all processes of the machine share: when it
began, when it ended, and for each event when its effect was committed, if ``note`` is the last argument.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import nats

from carrick import Context, store
from carrick.event import PARTITIONS
from carrick.messaging import Subscriber
from carrick.messaging.nats import NatsBroker
from carrick.observe import ignore
from carrick.route import EventRoute
from carrick.store import Inbox, Transaction, database_at
from shop.orders.v1.orders_carrick import apply_order_placed, on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.bench.outbox.orders import CREATE, ORDER

__all__ = ["KINDS"]

KINDS = ("row", "inbox", "none", "bare")
_FETCH = 500
_PATIENCE = 300.0
_LOOK_EVERY = 0.005


class _Handlers:
    """Notes when each event was handled, if that is wanted: it costs some."""

    def __init__(self, *, note: bool) -> None:
        self.handled: dict[str, float] = {}
        self._note = note

    async def row(self, event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
        """Write a row."""
        await tx.execute(ORDER, {"id": event.order_id, "customer": event.customer_id, "total": event.total})
        if self._note:
            tx.after_commit(partial(self._now, str(ctx.key)))

    async def inbox(self, event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
        """Do nothing that is not done anyway."""
        if self._note:
            tx.after_commit(partial(self._now, str(ctx.key)))

    async def none(self, event: OrderPlaced, ctx: Context) -> None:
        """Do nothing at all."""

    def _now(self, event_id: str) -> None:
        self.handled[event_id] = time.monotonic()


async def _main(url: str, name: str, kind: str, where: str, count: int, *, note: bool) -> None:
    if kind == "bare":
        await _bare(url, name, count)
        return
    handlers = _Handlers(note=note)
    async with NatsBroker(url, name="bench") as broker, _inbox(kind, where) as inbox:
        handler = getattr(handlers, kind)
        route: EventRoute[Any] = on_order_placed(handler) if inbox is None else apply_order_placed(handler)
        began = time.monotonic()
        async with Subscriber(name, broker, [route], inbox=inbox, observe=ignore) as subscriber:
            async with asyncio.timeout(_PATIENCE):
                while len(subscriber.partitions) < PARTITIONS:  # noqa: ASYNC110  # as below
                    await asyncio.sleep(_LOOK_EVERY)
                print("ready", flush=True)
                while subscriber.processed < count:  # noqa: ASYNC110  # what would tell would be measured too
                    await asyncio.sleep(_LOOK_EVERY)
            ended = time.monotonic()
    print(json.dumps({"began": began, "ended": ended, "handled": handlers.handled}), flush=True)


@asynccontextmanager
async def _inbox(kind: str, where: str) -> AsyncIterator[Inbox | None]:
    if kind == "none":
        yield None
        return
    async with database_at(where, migrations=[store.MIGRATIONS]) as database:
        async with database.transaction() as tx:
            await tx.execute(CREATE)
        yield Inbox(database)


async def _bare(url: str, name: str, count: int) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    began = time.monotonic()
    place = await stream.pull_subscribe("orders.>", durable=name, stream="ORDERS")
    print("ready", flush=True)
    done = 0
    while done < count:
        for message in await place.fetch(min(_FETCH, count - done), timeout=10):
            OrderPlaced.FromString(message.data)
            await message.ack()
            done += 1
    await client.flush()
    print(json.dumps({"began": began, "ended": time.monotonic(), "handled": {}}), flush=True)
    await client.close()


if __name__ == "__main__":
    _url, _name, _kind, _where, _count, *_rest = sys.argv[1:]
    asyncio.run(_main(_url, _name, _kind, _where, int(_count), note=_rest == ["note"]))
