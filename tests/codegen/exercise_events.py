"""Publishes every event of generated modules, and lets their routes of both kinds handle it.

Events go through an outbox on SQLite, a relay and a broker in memory.
"""

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from carrick import Context, EventRoute, EventSpec, HandlingOptions, Upcaster, outbox, store
from carrick.messaging import Subscriber, SubscriberOptions
from carrick.messaging.memory import MemoryBroker
from carrick.outbox import Outbox, Relay
from carrick.store import Inbox, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import settle
from tests.codegen.filling import filled

__all__ = ["check_routes", "exercise_events"]

Route = Callable[..., EventRoute[Any]]
_SOON = SubscriberOptions(fetch_wait=0.1)


@dataclass(frozen=True, slots=True)
class Generated:
    """What a module has for one event."""

    name: str
    """Name of the publisher's method."""
    on: Route
    apply: Route
    spec: EventSpec[Any]


def check_routes(module: ModuleType) -> None:
    """See that each event has its two functions, and that they make of their arguments what the framework reads."""
    options = HandlingOptions(max_attempts=1)
    for each in _generated(module):
        upcasters = [Upcaster(each.spec, lambda event: event)]
        for make, applies in ((each.on, False), (each.apply, True)):
            assert make(_nothing) == EventRoute(each.spec, _nothing, applies)
            route = make(_nothing, handling=options, upcasters=upcasters)
            assert route == EventRoute(each.spec, _nothing, applies, options, tuple(upcasters))


async def exercise_events(module: ModuleType, counts: Counter[str]) -> None:
    """Publish each event of a module, and count how often it was handled."""
    events = _generated(module)
    with TemporaryDirectory() as folder:
        migrations = [store.MIGRATIONS, outbox.MIGRATIONS]
        async with SqliteDatabase(Path(folder) / "events.db", migrations=migrations) as database:
            for each in events:
                await _exercise(each, _publisher(module, each.name), database)
                counts.update(events=1, handled=2)


async def _exercise(event: Generated, publisher: Callable[[Outbox], Any], database: SqliteDatabase) -> None:
    broker, seen = MemoryBroker(), Counter[str]()

    async def handle(event: Any, ctx: Context) -> None:
        async with database.transaction() as tx:
            await tx.handled()
        seen[f"on {type(event).DESCRIPTOR.full_name}"] += 1

    async def apply(event: Any, tx: Transaction, ctx: Context) -> None:
        await tx.execute("SELECT 1")
        seen[f"apply {type(event).DESCRIPTOR.full_name}"] += 1

    relay, inbox = Relay(database, broker), Inbox(database)
    on = Subscriber("on", broker, [event.on(handle)], inbox=inbox, options=_SOON)
    applying = Subscriber("apply", broker, [event.apply(apply)], inbox=inbox, options=_SOON)
    async with relay, on, applying:
        async with database.transaction() as tx:
            publish: Callable[..., Awaitable[None]] = getattr(publisher(Outbox("test", wake=relay.wake)), event.name)
            await publish(tx, _keyed(event.spec))
        await settle(relay, on, applying)
    assert seen == {f"{verb} {event.spec.full_name}": 1 for verb in ("on", "apply")}, seen


def _keyed(spec: EventSpec[Any]) -> Any:
    """Return an event whose key is not empty."""
    event = filled(spec.message)
    setattr(event, spec.key, getattr(event, spec.key) or type(getattr(event, spec.key))(1))
    return event


def _generated(module: ModuleType) -> list[Generated]:
    """Return what a module has for each of the events that it lists."""
    functions = {name: getattr(module, name) for name in module.__all__ if inspect.isfunction(getattr(module, name))}
    names = [name.removeprefix("apply_") for name in functions if name.startswith("apply_")]
    found = [
        Generated(name, functions[f"on_{name}"], functions[f"apply_{name}"], functions[f"on_{name}"](_nothing).spec)
        for name in names
    ]
    assert len(functions) == 2 * len(found)
    assert {each.spec for each in found} == set(getattr(module, "EVENTS", ()))
    return found


def _publisher(module: ModuleType, method: str) -> Any:
    """Return the class that publishes a module's events, which is the only one with such a method."""
    (publisher,) = (each for each in _classes(module) if _publishes(getattr(each, method, None)))
    return publisher


def _classes(module: ModuleType) -> Iterator[Any]:
    return (each for each in map(vars(module).get, module.__all__) if inspect.isclass(each))


def _publishes(method: Any) -> bool:
    return inspect.iscoroutinefunction(method) and [*inspect.signature(method).parameters][1:3] == ["tx", "event"]


async def _nothing(*_: Any) -> None:
    """Handle nothing."""
