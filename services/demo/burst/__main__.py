"""``make demo-burst``: ten times as many events as the consumers can handle, and nobody who sends them notices.

Orders are placed at a steady rate, then in a burst, then steadily again. What the consumers can't handle at once waits
in the stream, and is handled at their own pace. NATS, the databases and the consumer's process are real.
"""

import asyncio
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

from carrick import outbox
from carrick.messaging.nats import NatsBroker
from carrick.outbox import Outbox, Relay
from carrick.store import SyncTransaction
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer
from services.demo.burst.consumer import CAPACITY
from services.demo.burst.drawing import in_words, svg
from services.demo.burst.timeline import Phases, Timeline, checks
from shop.orders.v1.orders_carrick import EVENTS, ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced

_RESULTS = Path("demo-results")
_STEADY = CAPACITY / 5
_BURST = CAPACITY * 10
_LOOK_EVERY = 0.25
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class _Stage:
    """The senders' database, and where the consumer's is."""

    database: SqliteDatabase
    outbox: Outbox
    handled: Path


def main(
    burst: Annotated[float, typer.Option(min=0.1, help="Seconds of the burst.")] = 2.0,
    steady: Annotated[float, typer.Option(min=1.0, help="Seconds before it.")] = 6.0,
) -> None:
    """Send ten times as many events as can be handled, and see who waits.

    Exit status 0 when only the events did: see what is printed. The curves are in demo-results/burst.svg.
    """
    console = Console()
    phases = Phases(steady, steady + burst)
    with TemporaryDirectory(prefix="carrick-burst-") as folder:
        timeline, effects = asyncio.run(_play(console, Path(folder), phases))
    end = timeline.handled[-1][0]
    for line in in_words(timeline, end):
        console.print(line, markup=False, highlight=False)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "burst.svg").write_text(svg(timeline, phases, end), "utf-8")
    found = checks(timeline, phases, CAPACITY, effects)
    for check in found:
        console.print(f"{'[green]yes[/green]' if check.ok else '[red]NO[/red]'}  {check.what}: {check.found}")
    console.print(f"curves: {_RESULTS / 'burst.svg'}")
    raise typer.Exit(0 if all(check.ok for check in found) else 1)


async def _play(console: Console, folder: Path, phases: Phases) -> tuple[Timeline, Counter[str]]:
    console.print(
        f"a consumer handles {CAPACITY:.0f} events a second; {_STEADY:.0f} orders a second are placed, "
        f"and {_BURST:.0f} from second {phases.burst:.0f} to {phases.calm:.0f}"
    )
    handled = folder / "warehouse.db"
    with NatsServer(folder / "nats") as server:
        async with (
            _consumer(server.url, handled),
            SqliteDatabase(folder / "orders.db", migrations=[outbox.MIGRATIONS]) as database,
            NatsBroker(server.url, name="orders") as broker,
            Relay(database, broker, events=EVENTS) as relay,
        ):
            stage = _Stage(database, Outbox("orders", wake=relay.wake), handled)
            timeline = await _watched(stage, phases)
        return timeline, _effects(handled)


@asynccontextmanager
async def _consumer(nats_url: str, path: Path) -> AsyncIterator[Process]:
    arguments = (sys.executable, "-m", "services.demo.burst.consumer", nats_url, str(path))
    process = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = await asyncio.wait_for(process.stdout.readline(), 40.0)
        if said.strip() != b"ready":
            raise RuntimeError("the consumer did not start")
        yield process
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 30.0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _watched(stage: _Stage, phases: Phases) -> Timeline:
    """Send until everything of the burst was handled, and look now and then."""
    timeline, began = Timeline(), time.monotonic()
    written = 0

    async def place(number: int, at: float) -> None:
        nonlocal written
        event = OrderPlaced(order_id=f"order-{number:06d}", customer_id="c-1", total=1200)

        def work(tx: SyncTransaction) -> None:
            stage.outbox.write_sync(tx, ORDER_PLACED, event)

        await stage.database.run(work)
        written += 1
        timeline.latencies.append((at, (time.monotonic() - began - at) * 1e3))

    def look(handled: int) -> None:
        now = time.monotonic() - began
        timeline.written.append((now, written))
        timeline.handled.append((now, handled))

    async with asyncio.TaskGroup() as orders:
        sending = asyncio.create_task(_send(orders, place, phases, began))
        while (now := time.monotonic() - began) < _PATIENCE:
            look(await asyncio.to_thread(_count, stage.handled))
            if now > phases.calm and timeline.depth[-1][1] < _STEADY / 2:
                break
            await asyncio.sleep(_LOOK_EVERY)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
    while timeline.depth[-1][1] and time.monotonic() - began < _PATIENCE:
        await asyncio.sleep(_LOOK_EVERY)
        look(await asyncio.to_thread(_count, stage.handled))
    return timeline


async def _send(
    orders: asyncio.TaskGroup, place: Callable[[int, float], Coroutine[Any, Any, None]], phases: Phases, began: float
) -> None:
    """Place orders at fixed times, whether those before are done or not."""
    for number, at in enumerate(_times(phases)):
        await asyncio.sleep(began + at - time.monotonic())
        orders.create_task(place(number, at))


def _times(phases: Phases) -> Iterator[float]:
    at = 0.0
    while True:
        yield at
        at += 1 / (_BURST if phases.burst <= at < phases.calm else _STEADY)


def _count(path: Path) -> int:
    return int(_read(path, "SELECT count(*) FROM shipped")[0][0])


def _effects(path: Path) -> Counter[str]:
    return Counter(dict(_read(path, "SELECT order_id, count(*) FROM shipped GROUP BY 1")))


def _read(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
        return connection.execute(query).fetchall()


if __name__ == "__main__":
    typer.run(main)
