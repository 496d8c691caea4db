"""``carrick consumer status``."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Annotated, Any

import typer

from carrick.cli.consumer.options import Consumer, Stream
from carrick.cli.databases import existing_database
from carrick.cli.options import AsJson, MaybeDatabaseUrl, NatsUrl, broker_at, quiet
from carrick.cli.terminal import table
from carrick.messaging.consumers import ConsumerStatus, PlaceStatus, consumer_status
from carrick.store.parking import Parking

__all__ = ["status"]

_EVERY = 2.0  # seconds


def status(
    name: Consumer,
    nats: NatsUrl,
    stream: Stream,
    database: MaybeDatabaseUrl = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look every 2 seconds, and say how fast the backlog changes, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a consumer is in its stream, by partition, which process reads it, and what is put aside.

    Only reads. Pending are events that were never delivered, in flight those
    that are being handled. With --database it is shown, too, how many keys and
    events are parked there, and how many of these keys are held: they wait
    behind a dead letter. A partition without holder is read by nobody.

    Exit status: 0 when it could be read, however it is doing, 1 when there is
    no such consumer or broker or database could not be had, 2 when an option
    is wrong.

    Examples:
      carrick consumer status inventory --stream ORDERS
      carrick consumer status inventory --stream ORDERS --database inventory.db --watch

    """
    quiet()
    asyncio.run(_status(nats, stream, name, database, watch=watch, as_json=as_json))


async def _status(url: str, stream: str, name: str, database: str | None, *, watch: bool, as_json: bool) -> None:
    async with AsyncExitStack() as opened:
        broker = await opened.enter_async_context(broker_at(url, name="consumer"))
        parking = None
        if database is not None:
            parking = Parking(await opened.enter_async_context(existing_database(database)))
        before: tuple[float, int] | None = None
        while True:
            found = await consumer_status(broker, stream, name, parking)
            now = time.monotonic()
            change = None if before is None else (found.unsettled - before[1]) / (now - before[0])
            before = now, found.unsettled
            if as_json:
                typer.echo(json.dumps(_fields(found, change), indent=None if watch else 2))
            else:
                typer.echo("\n".join(_lines(found, change)))
            if not watch:
                return
            await asyncio.sleep(_EVERY)


def _fields(found: ConsumerStatus, change: float | None) -> dict[str, Any]:
    return {
        "unsettled": found.unsettled,
        "change_per_second": change,
        "dead_letters": found.dead_letters,
        "places": [
            {
                "partition": each.partition,
                **asdict(each.place),
                "holder": each.holder,
                "parked": None if each.parked is None else asdict(each.parked),
            }
            for each in found.places
        ],
    }


def _lines(found: ConsumerStatus, change: float | None) -> Iterator[str]:
    heads = ["partition", "pending", "in flight", "redelivered"]
    heads += ["parked", "of keys", "held"] if any(each.parked for each in found.places) else []
    yield from table([*heads, "paused", "holder"], [_row(each) for each in found.places])
    changes = "" if change is None else f", {'falling' if change < 0 else 'growing'} by {abs(change):.1f}/s"
    yield f"{found.unsettled} unsettled{changes}; {found.dead_letters} dead letters"


def _row(each: PlaceStatus) -> list[str]:
    place, parked = each.place, each.parked
    cells = ["unordered" if each.partition is None else f"p{each.partition:02d}"]
    cells += [str(number) for number in (place.pending, place.in_flight, place.redelivered)]
    cells += [] if parked is None else [str(number) for number in (parked.events, parked.keys, parked.held_keys)]
    return [*cells, "paused" if place.paused else "-", each.holder or "-"]
