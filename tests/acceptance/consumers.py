"""Consumers as processes that die or stand still at a chosen moment, what they are given, and what must come of it.

What becomes of an event is written in it, so that it is known beforehand: most are handled at once, some hang, fail or
are cancelled now and then, and some can never be handled. These are dead letters in the end, all others have one
effect, in the order of their keys.
"""

import asyncio
import json
import logging
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from carrick import outbox, store
from carrick.context import Context
from carrick.errors import CarrickError, Code, MessagingError, PermanentError, StoreError
from carrick.event import PARTITIONS, EventSpec
from carrick.messaging import Message, Subscriber, SubscriberOptions
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.messaging.deadletter import DeadLetters
from carrick.messaging.handling import Handling
from carrick.messaging.leases import LEASE_STREAM, Leases
from carrick.messaging.nats import NatsBroker
from carrick.messaging.nats.delivery import NatsDelivery
from carrick.messaging.redrive import Redrive
from carrick.messaging.workers import Workers
from carrick.observe import ignore
from carrick.options import HandlingOptions
from carrick.route import EventRoute
from carrick.store import Inbox, Transaction
from carrick.store.parking import Parking
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.acceptance.relays import ANOTHER, AnyDatabase, around
from tests.unit.testing.programs import Program, until

__all__ = [
    "APPLIED",
    "HANDLED",
    "HAND_OVER",
    "ME",
    "MOMENTS",
    "NAME",
    "OPTIONS",
    "Published",
    "audit",
    "consumer_database",
    "ended_well",
    "make_tables",
    "ready",
    "settled",
    "subscriber",
]

ME = "tests.acceptance.consumers"
NAME = "stock"
HANDLED, APPLIED = ORDER_PLACED, ANOTHER
"""The event whose handler has a transaction of its own, and the one that is applied in the transaction of many."""
OPTIONS = SubscriberOptions(ack_wait=1.0, lease=1.0, fetch_wait=0.3, poll=0.5, group=20)
HANDLING = HandlingOptions(max_attempts=8, timeout=2.0, initial_backoff=0.01, max_backoff=0.2)
_WAITS = 1.0  # for locks, in a database that a process holds which stands still: less than a handler's time
MOMENTS = (
    "before the transaction",
    "inside the transaction",
    "before the commit",
    "after the commit",
    "after the acknowledgement",
    "before parking",
    "after parking",
    "before a retry",
    "after a retry's effect",
    "after a retry's row has gone",
    "after postponing",
    "before a dead letter",
    "after a dead letter",
    "after taking a partition",
)
HAND_OVER = ("before handing over", "before the lease has gone", "after handing over")

_SOMETIMES = 0.25  # of the attempts at what fails sometimes
_NEVER = ("poison", "permanent")
_WHAT = ("fine", "fails", "outage", "hangs", "cancelled", *_NEVER)
_WEIGHTS = (90.0, 3.0, 2.0, 0.3, 1.0, 1.0, 0.3)


def consumer_database(where: str) -> AnyDatabase:
    """Return a database, to be opened, by its path or URL."""
    migrations = [store.MIGRATIONS, outbox.MIGRATIONS]
    if where.startswith("postgresql:"):
        return PostgresDatabase(where, migrations=migrations, lock_timeout=_WAITS, idle_timeout=5.0)
    return SqliteDatabase(Path(where), migrations=migrations, busy_timeout=_WAITS)


async def make_tables(database: AnyDatabase) -> None:
    """Make the table of effects, which tells in which order they came."""
    serial = "BIGSERIAL PRIMARY KEY"
    if isinstance(database, SqliteDatabase):
        serial = "INTEGER PRIMARY KEY AUTOINCREMENT"
    async with database.transaction() as tx:
        await tx.execute(f"CREATE TABLE effects (place {serial}, key TEXT, number INTEGER)")


@dataclass
class Published:
    """What was published: events of some keys, each with its number among its key's."""

    numbers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Those that must have an effect, by key."""
    poison: dict[str, int] = field(default_factory=dict)
    """Ids of events that can't be handled, and how many messages each has."""
    events: int = 0
    repeated: int = 0
    what: Counter[str] = field(default_factory=Counter)

    async def publish(
        self,
        broker: NatsBroker,
        count: int,
        *,
        keys: int = 20,
        specs: Sequence[EventSpec[Any]] = (HANDLED, APPLIED),
        weights: Sequence[float] = _WEIGHTS,
        repeated: float = 0.0,
    ) -> None:
        """Publish events whatever becomes of the broker, each key's in their order; some again, a little later."""
        await _persistently(lambda: broker.ensure_stream("ORDERS", ["orders.>"]))
        again: list[Message] = []
        while count > 0:
            turn = [self._event(f"k{key}", specs, weights) for key in random.sample(range(keys), min(count, keys))]
            count -= len(turn)
            await asyncio.gather(*(_send(broker, message) for message in (*turn, *again)))
            again = [self._repeat(message) for message in turn if random.random() < repeated]
        await asyncio.gather(*(_send(broker, message) for message in again))

    def _event(self, key: str, specs: Sequence[EventSpec[Any]], weights: Sequence[float]) -> Message:
        self.events += 1
        spec, what = random.choice(specs), random.choices(_WHAT, weights)[0]
        if what == "hangs" and spec is APPLIED:
            what = "fine"  # what is applied waits for nothing
        self.what[what] += 1
        event = OrderPlaced(order_id=key, customer_id=what, total=self.events)
        event_id = f"event-{self.events}"
        if what in _NEVER:
            self.poison[event_id] = 1
        else:
            self.numbers[key].append(self.events)
        return Message(
            stream="ORDERS",
            subject=spec.subject_of(key),
            id=event_id,
            data=event.SerializeToString(),
            headers=headers_for(spec, Envelope(id=event_id, key=key), time=0.0),
        )

    def _repeat(self, message: Message) -> Message:
        """Return the same event in another message, which no broker knows as a duplicate."""
        self.repeated += 1
        if message.id in self.poison:
            self.poison[message.id] += 1
        return Message(
            stream=message.stream,
            subject=message.subject,
            id=f"{message.id} again",
            data=message.data,
            headers=message.headers,
        )


async def _send(broker: NatsBroker, message: Message) -> None:
    await _persistently(lambda: broker.publish(message))


async def _persistently(action: Callable[[], Any]) -> None:
    while True:
        try:
            await action()
        except MessagingError:
            await asyncio.sleep(0.2)
        else:
            return


class Handlers:
    """Do with an event what is written in it."""

    def __init__(self, database: AnyDatabase, moments: "Moments") -> None:
        self._database = database
        self._moments = moments
        self._outage = Path(os.environ.get("CARRICK_OUTAGE", "/nowhere"))
        self._fails = "CARRICK_FAILS" in os.environ

    async def handle(self, event: OrderPlaced, ctx: Context) -> None:
        """Have the effect in a transaction of the handler's own."""
        self._moments.come("before the transaction")
        if event.customer_id == "slow":
            await asyncio.sleep(1.2)
        if event.customer_id == "hangs" and random.random() < _SOMETIMES:
            await asyncio.Event().wait()
        self._fail(event)
        async with self._database.transaction() as tx:
            await self._effect(tx, event)
            await tx.handled()
            self._moments.come("before the commit")
        self._moments.come("after the commit")

    async def apply(self, event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
        """Have the effect in the transaction of many."""
        await self._effect(tx, event)
        self._fail(event)
        self._moments.come("before the commit")

    async def _effect(self, tx: Transaction, event: OrderPlaced) -> None:
        values = {"key": event.order_id, "number": event.total}
        await tx.execute("INSERT INTO effects (key, number) VALUES (:key, :number)", values)
        self._moments.come("inside the transaction")

    def _fail(self, event: OrderPlaced) -> None:
        what, now = event.customer_id, random.random() < _SOMETIMES
        if self._outage.exists():
            raise CarrickError(Code.UNAVAILABLE, "something else is away")
        if what == "poison" or (what == "fails" and now):
            raise KeyError(what)
        if what == "permanent" or self._fails:
            raise PermanentError("never")
        if what == "outage" and random.random() < 2 * _SOMETIMES:
            raise CarrickError(Code.UNAVAILABLE, "away")
        if what == "cancelled" and now:
            raise asyncio.CancelledError


def subscriber(database: AnyDatabase, broker: NatsBroker, moments: "Moments | None" = None) -> Subscriber:
    """Return a subscriber that consumes both events."""
    handlers = Handlers(database, moments or Moments())
    routes = [
        EventRoute(HANDLED, handlers.handle, handling=HANDLING),
        EventRoute(APPLIED, handlers.apply, applies=True, handling=HANDLING),
    ]
    return Subscriber(NAME, broker, routes, inbox=Inbox(database), options=OPTIONS, observe=ignore, grace=5.0)


class Moments:
    """Sends this process a signal when a moment comes for that time."""

    def __init__(self, moment: str = "", number: int = 1, what: signal.Signals = signal.SIGKILL) -> None:
        self._moment = moment
        self._left = number
        self._what = what
        self._arm()

    def come(self, moment: str) -> None:
        """Hear of a moment."""
        if moment == self._moment:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._what)

    def _arm(self) -> None:
        def now() -> None:
            self.come(self._moment)

        match self._moment:
            case "before the transaction":  # of those that are applied: a handler with its own says so itself
                around(Handling, "attempt_together", before=now)
            case "after the commit":  # as above
                around(Handling, "attempt_together", after=now)
            case "after the acknowledgement":
                around(NatsDelivery, "ack", after=now)
            case "before parking":
                around(Parking, "park", before=now)
            case "after parking":
                around(Parking, "park", after=now)
            case "before a retry":
                around(Workers, "_retried", before=now)
            case "after a retry's effect":
                around(Parking, "settle", before=now)
            case "after a retry's row has gone":
                around(Parking, "settle", after=now)
            case "after postponing":
                around(Parking, "postpone", after=now)
            case "before a dead letter":
                around(DeadLetters, "put", before=now)
            case "after a dead letter":
                around(DeadLetters, "put", after=now)
            case "after taking a partition":
                around(Parking, "begin", after=now)
            case "before handing over":
                around(Subscriber, "_hand_over", before=now)
            case "before the lease has gone":
                around(Leases, "let_go", before=now)
            case "after handing over":
                around(Leases, "let_go", after=now)


async def ready(process: Program) -> None:
    """Wait until a consumer consumes."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = await asyncio.to_thread(process.stdout.readline)
    if line != "ready\n":
        process.kill()
        raise AssertionError(process.communicate()[1])


async def settled(database: AnyDatabase, broker: NatsBroker, *, timeout: float = 30.0) -> None:
    """Wait until nothing is pending for the consumer, by the broker and the database."""
    looking = subscriber(database, broker)

    async def nothing() -> bool:
        try:
            return await looking.pending() == 0
        except (MessagingError, StoreError):
            return False

    try:
        await until(nothing, timeout=timeout)
    except TimeoutError:
        async with database.read() as tx:
            parked = (await tx.execute("SELECT key, sequence, attempts, reason FROM carrick_parked")).all()
        places = {each: await broker.place("ORDERS", looking._place(each)) for each in range(PARTITIONS)}
        waiting = [f"{each} {place}" for each, place in places.items() if place and place.pending + place.in_flight]
        raise AssertionError("\n".join([*waiting, *map(str, parked[:20])])) from None


async def ended_well(*processes: Program) -> None:
    """Stop consumers, and check that nothing is left in any of them."""
    for process in processes:
        process.terminate()
    for process in processes:
        async with asyncio.timeout(30):
            said, complaints = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, complaints[-4000:]
        left = json.loads(said.splitlines()[-1])
        assert not any(left.values()), (left, complaints[-2000:])


async def _held(broker: NatsBroker) -> list[str]:
    """Return the leases that stay; those of who died end by themselves."""
    held: list[str] = []

    async def none() -> bool:
        leases = await broker.latest(LEASE_STREAM, f"lease.ORDERS.{NAME}.>")
        held[:] = [lease.subject for lease in leases if lease.data]
        return not held

    with suppress(TimeoutError):
        await until(none, timeout=5 * OPTIONS.lease)
    return held


async def audit(database: AnyDatabase, broker: NatsBroker, published: Published, *, letters_once: bool = True) -> str:
    """Compare what was published with effects, dead letters, parked events and leases; say in words how many.

    A dead letter is put again after a death right behind it, and the broker takes it for the same within its window for
    duplicates only: without ``letters_once`` each is there at least once.
    """
    async with database.read() as tx:
        effects = (await tx.execute("SELECT key, number FROM effects ORDER BY place")).all()
        parked = (await tx.execute("SELECT key, sequence, reason FROM carrick_parked")).all()
    found: dict[str, list[int]] = defaultdict(list)
    for row in effects:
        found[row.key].append(row.number)
    differences = _differences(published.numbers, found)
    dead = Counter([letter.headers["ce-id"] async for letter in Redrive(broker).letters(NAME)])
    more = {each: count for each, count in dead.items() if letters_once and count != published.poison.get(each)}
    differences += [f"dead letters of {each}: {count}" for each, count in more.items()]
    differences += [f"{each} is no dead letter" for each in published.poison.keys() - dead.keys()]
    differences += [f"{each} should be no dead letter" for each in dead.keys() - published.poison.keys()]
    differences += [f"parked: {row.key} {row.sequence} {row.reason}" for row in parked]
    differences += [f"held: {subject}" for subject in await _held(broker)]
    assert not differences, "\n".join(differences[:50])
    return (
        f"{published.events} events, {published.repeated} of them twice, {dict(published.what)}: "
        f"{len(effects)} effects, {sum(dead.values())} dead letters"
    )


def _differences(wanted: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]) -> list[str]:
    said = []
    for key in sorted({*wanted, *found}):
        was, there = list(wanted.get(key, ())), list(found.get(key, ()))
        if was == there:
            continue
        times = Counter(there)
        said += [f"{key}: {each} has no effect" for each in was if not times[each]]
        said += [f"{key}: {each} has {count} effects" for each, count in times.items() if count > 1]
        said += [f"{key}: {each} must have no effect" for each in times.keys() - set(was)]
        said += [f"{key}: {b} comes before {a}" for b, a in pairwise(there) if a < b]
    return said


def _left(subscriber: Subscriber) -> dict[str, Any]:
    """Count what a subscriber holds."""
    workers, keeping = subscriber._workers, subscriber._keeping
    return {
        "deliveries": len(keeping) + len(keeping._unheard),
        "lanes": len(workers._lanes),
        "resting": len(workers._resting),
        "parked keys": sum(len(keys) for keys in workers.parked.values()),
        "readers": len(subscriber._readers),
        "partitions": len(subscriber.partitions),
    }


async def _consume(where: str, url: str, moments: Moments) -> None:
    """Consume until told to stop; then say what is left."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        consumer_database(where) as database,
        NatsBroker(url, name="consumer", publish_timeout=1.0) as broker,
    ):
        consuming = subscriber(database, broker, moments)
        async with consuming:
            print("ready", flush=True)
            await stop.wait()
        left = _left(consuming)
    await asyncio.sleep(0.05)
    left["tasks"] = [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}]
    print(json.dumps(left), flush=True)


def _main(where: str, url: str, moment: str = "", number: str = "1", what: str = "SIGKILL") -> None:
    logging.basicConfig(filename=os.environ.get("CARRICK_LOG", os.devnull))  # nobody reads from a pipe meanwhile
    asyncio.run(_consume(where, url, Moments(moment, int(number), signal.Signals[what])))


if __name__ == "__main__":
    _main(*sys.argv[1:])
