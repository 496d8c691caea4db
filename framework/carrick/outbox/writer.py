"""Writing events: a row in the transaction that has the cause."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from carrick.clock import Clock, SystemClock
from carrick.context import current
from carrick.errors import Code, ConfigurationError, OutboxError
from carrick.event import EventSpec, partition_of
from carrick.ids import random_id, time_ordered_id
from carrick.instruments import Instruments
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.store.dialect import Sql
from carrick.store.transaction import Transaction

__all__ = ["DEFAULT_MAX_PAYLOAD", "Outbox"]

DEFAULT_MAX_PAYLOAD = 1_000_000
"""Bytes. NATS takes 1 MiB unless told, headers included."""

Event = TypeVar("Event", bound=Message)

_WRITE = Sql.template("""
INSERT INTO carrick_outbox
    (id, stream, stream_subjects, subject, partition, key, payload, headers, created_at)
VALUES (:id, :stream, :stream_subjects, :subject, :partition, :key, :payload, :headers, {now})
""")


class Outbox:
    """Writes events for a relay to publish. ``source`` names the service, in CloudEvents' sense.

    ``wake`` is called after each commit, so that the relay need not poll. An event above ``max_payload`` bytes is
    refused here, where its cause can still be undone, rather than by the broker. Use it from any task.
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

    async def write(self, tx: Transaction, spec: EventSpec[Event], event: Event) -> str:
        """Write an event in ``tx`` and return its id. It carries the correlation id of what is being handled.

        Raises ``OutboxError`` for an event without key or too large, and for anything that is no transaction.
        """
        if not isinstance(tx, Transaction):
            raise OutboxError(
                Code.FAILED_PRECONDITION,
                f"{spec.full_name} must be written in a transaction, not in a {type(tx).__name__}: "
                "async with database.transaction() as tx: ...",
            )
        if not isinstance(event, spec.message):
            raise OutboxError(
                Code.INVALID_ARGUMENT, f"{spec.full_name} is a {spec.message.__name__}, not a {type(event).__name__}"
            )
        key = spec.key_of(event)
        if not key:
            raise OutboxError(
                Code.INVALID_ARGUMENT, f"{spec.full_name} has an empty {spec.key}: the field that keeps events in order"
            )
        payload = event.SerializeToString()
        if len(payload) > self._max_payload:
            raise OutboxError(
                Code.OUT_OF_RANGE, f"{spec.full_name} has {len(payload)} bytes, above the {self._max_payload} allowed"
            )
        envelope = self._envelope(spec, key)
        row = self._row(spec, payload, envelope, key)
        if len(payload) + len(row["headers"]) > self._max_payload:
            raise OutboxError(
                Code.OUT_OF_RANGE, f"{spec.full_name} has too long a {spec.key}: it goes into a header too"
            )
        await tx.execute(_WRITE.of(tx.dialect), row)
        if self._wake is not None:
            tx.after_commit(self._wake)
        return envelope.id

    def _envelope(self, spec: EventSpec[Any], key: str) -> Envelope:
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
        )

    def _row(self, spec: EventSpec[Any], payload: bytes, envelope: Envelope, key: str) -> dict[str, Any]:
        return {
            "id": envelope.id,
            "stream": spec.stream,
            "stream_subjects": spec.stream_subjects,
            "subject": spec.subject_of(key),
            "partition": partition_of(key),
            "key": key,
            "payload": payload,
            "headers": json.dumps(headers_for(spec, envelope, time=self._clock.wall())),
        }
