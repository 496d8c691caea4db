"""Writing events: a row in the transaction that has the cause."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.message import Message

from carrick.clock import Clock, SystemClock
from carrick.context import current
from carrick.errors import Code, ConfigurationError, OutboxError
from carrick.event import EventSpec, partition_of
from carrick.ids import random_id, time_ordered_id
from carrick.instruments import Instruments
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.outbox.insert import Row, insertion
from carrick.outbox.times import Times
from carrick.store.any_transaction import AnyTransaction, AnyTransactionSync
from carrick.store.dialect import Dialect
from carrick.store.writers import (
    ACCEPTED,
    ACCEPTED_SYNC,
    SyncWriter,
    Writer,
    sync_writer,
    writer,
)

__all__ = ["DEFAULT_MAX_PAYLOAD", "Outbox"]

DEFAULT_MAX_PAYLOAD = 1_000_000
"""Bytes. NATS takes 1 MiB unless told, headers included."""

Event = TypeVar("Event", bound=Message)
Events = Iterable[tuple[EventSpec[Any], Message]]


@dataclass(frozen=True, slots=True)
class _Written:
    """What is to be written: one statement."""

    ids: list[str]
    statement: str
    parameters: Any


class Outbox:
    """Writes events for a relay to publish. ``source`` names the service, in CloudEvents' sense.

    An event is written in the caller's own transaction, on whichever connection that is: a transaction of carrick's, or
    a connection of SQLAlchemy, asyncpg, psycopg, aiosqlite or sqlite3 on which one is under way. What the driver raises
    is raised as it is.

    ``wake`` is called after each commit that the connection tells of (carrick's transactions, SQLAlchemy's sessions and
    connections), so that the relay need not poll. An event above ``max_payload`` bytes is refused here, where its cause
    can still be undone, rather than by the broker. Use it from any task and thread.
    """

    def __init__(
        self,
        source: str,
        *,
        wake: Callable[[], None] | None = None,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        clock: Clock | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        if not source:
            raise ConfigurationError("an outbox needs the name of its service as source")
        self._source = source
        self._wake = wake
        self._max_payload = max_payload
        self._clock = clock or SystemClock()
        self._instruments = instruments

    async def write(
        self,
        tx: AnyTransaction,
        spec: EventSpec[Event],
        event: Event,
        *,
        delay: float | None = None,
        at: datetime | None = None,
        expires_in: float | None = None,
    ) -> str:
        """Write an event in ``tx`` and return its id. It carries the correlation id of what is being handled.

        It is published ``delay`` seconds from now, or ``at`` a moment, by the database's clock; later events of its key
        do not wait for it. One that is not published within ``expires_in`` seconds never is.

        Raises ``OutboxError`` for an event without key or too large, for times that make no sense, outside of a
        transaction, and for anything that is no transaction. Times are seconds.
        """
        return (await self.write_all(tx, [(spec, event)], delay=delay, at=at, expires_in=expires_in))[0]

    async def write_all(
        self,
        tx: AnyTransaction,
        events: Events,
        *,
        delay: float | None = None,
        at: datetime | None = None,
        expires_in: float | None = None,
    ) -> list[str]:
        """Write events in one round trip, in their order, and return their ids; :meth:`write` says the rest.

        All of them or none: when one is refused, nothing was written.
        """
        events = list(events)
        to = writer(tx)
        if to is None:
            raise _not_accepted(events, tx)
        written = self._written(to, events, delay, at, expires_in)
        if written is None:
            return []
        await to.execute(written.statement, written.parameters)
        if self._wake is not None:
            to.after_commit(self._wake)
        return written.ids

    def write_sync(
        self,
        tx: AnyTransactionSync,
        spec: EventSpec[Event],
        event: Event,
        *,
        delay: float | None = None,
        at: datetime | None = None,
        expires_in: float | None = None,
    ) -> str:
        """Write an event from code without an event loop; :meth:`write` says the rest."""
        return self.write_all_sync(tx, [(spec, event)], delay=delay, at=at, expires_in=expires_in)[0]

    def write_all_sync(
        self,
        tx: AnyTransactionSync,
        events: Events,
        *,
        delay: float | None = None,
        at: datetime | None = None,
        expires_in: float | None = None,
    ) -> list[str]:
        """Write events from code without an event loop; :meth:`write_all` says the rest."""
        events = list(events)
        to = sync_writer(tx)
        if to is None:
            raise _not_accepted_sync(events, tx)
        written = self._written(to, events, delay, at, expires_in)
        if written is None:
            return []
        to.execute(written.statement, written.parameters)
        if self._wake is not None:
            to.after_commit(self._wake)
        return written.ids

    def wake(self) -> None:
        """Have the relay look at the table now: after the commit of a connection that does not tell of it."""
        if self._wake is not None:
            self._wake()

    def _written(
        self,
        to: Writer | SyncWriter,
        events: Sequence[tuple[EventSpec[Any], Message]],
        delay: float | None,
        at: datetime | None,
        expires_in: float | None,
    ) -> _Written | None:
        """Check everything, and return what is to be executed; None where there is nothing to write."""
        _check_place(to, events)
        now = self._clock.wall()
        times = Times.checked(delay, at, expires_in, now=now)
        rows = [self._row(spec, event, now, times) for spec, event in events]
        if not rows:
            return None
        dialect: Dialect = "postgresql" if to.dialect == "postgresql" else "sqlite"
        return _Written([row.id for row in rows], *insertion(dialect, rows, times))

    def _row(self, spec: EventSpec[Any], event: Message, now: float, times: Times) -> Row:
        key = _checked_key(spec, event)
        payload = event.SerializeToString()
        if len(payload) > self._max_payload:
            raise OutboxError(
                Code.OUT_OF_RANGE, f"{spec.full_name} has {len(payload)} bytes, above the {self._max_payload} allowed"
            )
        envelope = self._envelope(spec, key, None if times.expires_in is None else now + times.expires_in)
        headers = headers_for(spec, envelope, time=now)
        partition = partition_of(key)
        row = Row(
            id=envelope.id,
            stream=spec.stream,
            stream_subjects=spec.stream_subjects,
            subject=spec.subject_in(partition),
            partition=partition,
            key=key,
            payload=payload,
            headers=json.dumps(headers),
            unordered=spec.unordered,
        )
        if len(payload) + len(row.headers) > self._max_payload:
            raise OutboxError(
                Code.OUT_OF_RANGE,
                f"{spec.full_name} has {len(payload)} bytes and {len(row.headers)} of headers, above the "
                f"{self._max_payload} allowed: too long a {spec.key}, which goes into a header too",
            )
        return row

    def _envelope(self, spec: EventSpec[Any], key: str, expires_at: float | None) -> Envelope:
        ctx = current()
        event_id = time_ordered_id()
        trace = ctx.trace if ctx else None
        if self._instruments is not None:
            trace = self._instruments.created(spec, event_id, ctx) or trace
        return Envelope(
            id=event_id,
            source=self._source,
            key=key,
            correlation_id=ctx.correlation_id if ctx else random_id(),
            causation_id=(ctx.key or ctx.causation_id) if ctx else None,
            trace=trace,
            expires_at=expires_at,
        )


def _check_place(to: Writer | SyncWriter, events: Sequence[tuple[EventSpec[Any], Message]]) -> None:
    refusal = to.refusal()
    if refusal is not None:
        raise OutboxError(
            Code.FAILED_PRECONDITION, f"{_name(events)} must be written in the transaction of its cause: {refusal}"
        )
    if to.dialect not in ("sqlite", "postgresql"):
        raise OutboxError(
            Code.UNIMPLEMENTED, f"{_name(events)}: an outbox is kept in SQLite or PostgreSQL, not in {to.dialect}"
        )


def _checked_key(spec: EventSpec[Any], event: Message) -> str:
    if not isinstance(event, spec.message):
        raise OutboxError(
            Code.INVALID_ARGUMENT, f"{spec.full_name} is a {spec.message.__name__}, not a {type(event).__name__}"
        )
    key = spec.key_of(event)
    if not key:
        raise OutboxError(
            Code.INVALID_ARGUMENT, f"{spec.full_name} has an empty {spec.key}: the field that keeps events in order"
        )
    if "\0" in key:
        raise OutboxError(
            Code.INVALID_ARGUMENT,
            f"{spec.full_name} has a NUL character in its {spec.key}, which databases do not keep",
        )
    return key


def _not_accepted(events: Sequence[tuple[EventSpec[Any], Message]], tx: object) -> Exception:
    if sync_writer(tx) is not None:
        return TypeError(f"a {_kind(tx)} is synchronous: outbox.write_sync(...), outbox.write_all_sync(...)")
    return OutboxError(
        Code.FAILED_PRECONDITION,
        f"{_name(events)} must be written in a transaction, not in a {_kind(tx)}: "
        f"async with database.transaction() as tx: ...; accepted are {ACCEPTED}",
    )


def _not_accepted_sync(events: Sequence[tuple[EventSpec[Any], Message]], tx: object) -> Exception:
    if writer(tx) is not None:
        return TypeError(f"a {_kind(tx)} is asynchronous: await outbox.write(...), await outbox.write_all(...)")
    return OutboxError(
        Code.FAILED_PRECONDITION,
        f"{_name(events)} must be written in a transaction, not in a {_kind(tx)}; accepted are {ACCEPTED_SYNC}",
    )


def _name(events: Sequence[tuple[EventSpec[Any], Message]]) -> str:
    return events[0][0].full_name if events else "an event"


def _kind(tx: object) -> str:
    module = type(tx).__module__.partition(".")[0]
    return type(tx).__name__ if module in ("builtins", "carrick") else f"{type(tx).__name__} of {module}"
