"""Where events wait whose handling failed, with the later ones of their keys, while other keys go on."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from carrick.claim import Tenure
from carrick.store.atomically import atomically
from carrick.store.claims import NewerOwnerError
from carrick.store.dialect import Sql
from carrick.store.transaction import Database, Transaction

__all__ = ["Parked", "ParkedCount", "ParkedKey", "Parking", "Position"]

_BEGIN = """
INSERT INTO carrick_partition (consumer, stream, partition, epoch) VALUES (:consumer, :stream, :partition, 1)
ON CONFLICT (consumer, stream, partition) DO UPDATE SET epoch = carrick_partition.epoch + 1
RETURNING epoch
"""
_EPOCH = Sql.template("""
SELECT epoch FROM carrick_partition
WHERE consumer = :consumer AND stream = :stream AND partition = :partition {lock}
""")
_OF_PARTITION = "consumer = :consumer AND stream = :stream AND partition = :partition"
_KEYS = Sql.template(f"""
SELECT key, count(*) AS events, min(due_at) - (SELECT {{now}}) AS due_in,
    sum(CASE WHEN held_at IS NULL THEN 0 ELSE 1 END) AS held
FROM carrick_parked WHERE {_OF_PARTITION} GROUP BY key
""")  # noqa: S608
_DUE = """
SELECT partition, key FROM carrick_parked
WHERE consumer = :consumer AND stream = :stream AND due_at <= (SELECT {{now}}) AND {held}
GROUP BY partition, key ORDER BY min(due_at) LIMIT :most
"""
_DUE_OF = Sql(
    sqlite=Sql.template(_DUE.format(held="partition IN (SELECT value FROM json_each(:partitions))")).sqlite,
    postgresql=Sql.template(_DUE.format(held="partition = ANY(:partitions)")).postgresql,
)
_POSITION = f"SELECT settled_to, made_at FROM carrick_partition WHERE {_OF_PARTITION}"  # noqa: S608
_NOTE = f"""
UPDATE carrick_partition SET settled_to = :settled_to, made_at = :made_at
WHERE {_OF_PARTITION} AND epoch = :epoch AND (made_at <> :made_at OR settled_to < :settled_to)
"""  # noqa: S608
_WAITING = """
SELECT count(*) FROM carrick_parked AS event
WHERE consumer = :consumer AND stream = :stream AND NOT EXISTS (
    SELECT 1 FROM carrick_parked AS held
    WHERE held.consumer = event.consumer AND held.stream = event.stream AND held.partition = event.partition
        AND held.key = event.key AND held.sequence <= event.sequence AND held.held_at IS NOT NULL)
"""
_COUNTS = """
SELECT partition, count(DISTINCT key) AS some_keys, count(*) AS events,
    count(DISTINCT CASE WHEN held_at IS NULL THEN NULL ELSE key END) AS held_keys
FROM carrick_parked WHERE consumer = :consumer AND stream = :stream GROUP BY partition
"""
_OF_KEY = Sql.template(f"""
SELECT partition, key, sequence, event_id, subject, headers, data, stored_at, attempts, failures, reason, held_at,
    due_at - (SELECT {{now}}) AS due_in
FROM carrick_parked WHERE {_OF_PARTITION} AND key = :key ORDER BY sequence LIMIT :most
""")  # noqa: S608
_PARK = Sql.template("""
INSERT INTO carrick_parked (consumer, stream, partition, key, sequence, event_id, subject, headers, data, stored_at,
    attempts, failures, due_at, held_at, reason)
VALUES (:consumer, :stream, :partition, :key, :sequence, :event_id, :subject, :headers, :data, :stored_at,
    :attempts, :failures, {now} + :due_in, {now} + :held, :reason)
ON CONFLICT (consumer, stream, partition, key, sequence) DO NOTHING
""")
_OF_EVENT = f"{_OF_PARTITION} AND key = :key AND sequence = :sequence"
_SETTLE = f"DELETE FROM carrick_parked WHERE {_OF_EVENT}"  # noqa: S608
_POSTPONE = Sql.template(f"""
UPDATE carrick_parked SET attempts = :attempts, failures = :failures, reason = :reason, due_at = {{now}} + :due_in
WHERE {_OF_EVENT}
""")  # noqa: S608
_HOLD = Sql.template(f"""
UPDATE carrick_parked SET attempts = :attempts, failures = :failures, reason = :reason, due_at = NULL, held_at = {{now}}
WHERE {_OF_EVENT}
""")  # noqa: S608
_AGAIN = Sql.template(f"""
UPDATE carrick_parked SET attempts = 0, failures = 0, due_at = {{now}}, held_at = NULL WHERE {_OF_EVENT}
""")  # noqa: S608
_NEXT = Sql.template(f"""
UPDATE carrick_parked SET due_at = {{now}} WHERE {_OF_PARTITION} AND key = :key AND held_at IS NULL AND sequence = (
    SELECT min(sequence) FROM carrick_parked WHERE {_OF_PARTITION} AND key = :key)
""")  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """An event that waits. Of a key only the first has ``due_in``; the others wait behind it."""

    partition: int
    key: str
    sequence: int
    event_id: str
    subject: str
    headers: Mapping[str, str]
    data: bytes = field(repr=False)
    stored_at: float
    attempts: int = 0
    failures: int = 0
    reason: str = ""
    due_in: float | None = None
    """Seconds until it is handled again."""
    held: bool = False
    """Whether it is a dead letter that later events of its key wait behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedKey:
    """A key with events that wait."""

    key: str
    events: int
    due_in: float | None
    """Seconds until the first of them is handled again; None while it is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedCount:
    """How much of a partition is parked."""

    keys: int = 0
    events: int = 0
    held_keys: int = 0
    """Those of the keys that wait behind a dead letter."""


@dataclass(frozen=True, slots=True)
class Position:
    """Everything up to a sequence is settled, of the stream that was made at a moment."""

    settled_to: int
    made_at: float


class Parking:
    """The parked events of a database's consumers. Each method is a short transaction of its own.

    Those that take a tenure to write raise ``NewerOwnerError``, and change nothing, when it has ended.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, consumer: str, stream: str, partition: int) -> tuple[Tenure, list[ParkedKey]]:
        """Become a partition's owner, and return what is parked there. Owners before this one can park no more."""
        where = {"consumer": consumer, "stream": stream, "partition": partition}

        async def begun(tx: Transaction) -> tuple[Tenure, list[ParkedKey]]:
            epoch = (await tx.execute(_BEGIN, where)).scalar_one()
            rows = (await tx.execute(_KEYS.of(tx.dialect), where)).all()
            return Tenure(consumer=consumer, stream=stream, partition=partition, epoch=epoch), [
                ParkedKey(
                    key=row.key,
                    events=row.events,
                    due_in=0.0 if row.due_in is None and not row.held else row.due_in,  # its owner died in between
                )
                for row in rows
            ]

        return await atomically(self._database, begun)

    async def position(self, consumer: str, stream: str, partition: int) -> Position:
        """Return up to where a partition is known to be settled: the start of the stream where nothing is known."""
        async with self._database.read() as tx:
            where = {"consumer": consumer, "stream": stream, "partition": partition}
            row = (await tx.execute(_POSITION, where)).first()
        return Position(0, 0.0) if row is None else Position(row.settled_to, row.made_at)

    async def note(self, positions: Mapping[Tenure, Position]) -> None:
        """Note up to where partitions are settled; those that have a newer owner are its to note."""
        rows = [
            {**_of(tenure), "epoch": tenure.epoch, "settled_to": position.settled_to, "made_at": position.made_at}
            for tenure, position in positions.items()
        ]

        async def noted(tx: Transaction) -> None:
            await tx.execute(_NOTE, rows)

        if rows:
            await atomically(self._database, noted)

    async def park(self, tenure: Tenure, events: Sequence[Parked]) -> None:
        """Keep events of a partition; those that are kept already stay as they are.

        After a ``NewerOwnerError`` they must not be acknowledged.
        """
        rows = [_row(tenure, event) for event in events]

        async def parked(tx: Transaction) -> None:
            await _owned(tx, tenure)
            await tx.execute(_PARK.of(tx.dialect), rows)

        await atomically(self._database, parked)

    async def check(self, tenure: Tenure) -> None:
        """Raise ``NewerOwnerError`` when the partition has one."""

        async def checked(tx: Transaction) -> None:
            await _owned(tx, tenure)

        await atomically(self._database, checked)

    async def of_key(self, tenure: Tenure, key: str, most: int) -> list[Parked]:
        """Return a key's first events, oldest first."""
        async with self._database.read() as tx:
            found = (await tx.execute(_OF_KEY.of(tx.dialect), {**_of(tenure), "key": key, "most": most})).all()
        return [_parked(row) for row in found]

    async def due(self, consumer: str, stream: str, partitions: Collection[int], most: int) -> list[tuple[int, str]]:
        """Return partitions and keys whose next event is due, the longest due first."""
        async with self._database.read() as tx:
            listed = json.dumps(list(partitions)) if tx.dialect == "sqlite" else list(partitions)
            where = {"consumer": consumer, "stream": stream, "partitions": listed, "most": most}
            rows = (await tx.execute(_DUE_OF.of(tx.dialect), where)).all()
        return [(row.partition, row.key) for row in rows]

    async def waiting(self, consumer: str, stream: str) -> int:
        """Count a consumer's parked events, save those that wait for or behind a dead letter."""
        async with self._database.read() as tx:
            found = await tx.execute(_WAITING, {"consumer": consumer, "stream": stream})
            return int(found.scalar_one())

    async def counts(self, consumer: str, stream: str) -> dict[int, ParkedCount]:
        """Count what is parked of a consumer, by partition, where anything is."""
        async with self._database.read() as tx:
            rows = (await tx.execute(_COUNTS, {"consumer": consumer, "stream": stream})).all()
        return {
            row.partition: ParkedCount(keys=row.some_keys, events=row.events, held_keys=row.held_keys) for row in rows
        }

    async def settle(self, tenure: Tenure, events: Collection[Parked]) -> None:
        """Forget events that were handled or put aside."""
        rows = [_of(tenure, event) for event in events]

        async def settled(tx: Transaction) -> None:
            await _owned(tx, tenure)
            await tx.execute(_SETTLE, rows)

        await atomically(self._database, settled)

    async def postpone(self, tenure: Tenure, event: Parked) -> None:
        """Note one more attempt of an event, which is due again in its ``due_in`` seconds; or, when held, is not."""
        values = {
            **_of(tenure, event),
            "attempts": event.attempts,
            "failures": event.failures,
            "reason": event.reason,
        }

        async def postponed(tx: Transaction) -> None:
            await _owned(tx, tenure)
            if event.held:
                await tx.execute(_HOLD.of(tx.dialect), values)
            else:
                await tx.execute(_POSTPONE.of(tx.dialect), values | {"due_in": float(event.due_in or 0.0)})

        await atomically(self._database, postponed)

    async def again(self, consumer: str, stream: str, event: Parked) -> None:
        """Have an event handled once more, from whichever process: a dead letter that was sent again.

        The key's later events go on behind it where they wait for it.
        """
        where = Tenure(consumer=consumer, stream=stream, partition=event.partition, epoch=0)

        async def parked(tx: Transaction) -> None:
            await tx.execute(_PARK.of(tx.dialect), [_row(where, event)])
            await tx.execute(_AGAIN.of(tx.dialect), _of(where, event))

        await atomically(self._database, parked)

    async def drop(self, consumer: str, stream: str, event: Parked) -> None:
        """Forget a dead letter, and let what waits behind it go on, from whichever process."""
        where = Tenure(consumer=consumer, stream=stream, partition=event.partition, epoch=0)

        async def dropped(tx: Transaction) -> None:
            await tx.execute(_SETTLE, _of(where, event))
            await tx.execute(_NEXT.of(tx.dialect), {**_of(where), "key": event.key})

        await atomically(self._database, dropped)


def _of(tenure: Tenure, event: Parked | None = None) -> dict[str, Any]:
    """Return what finds the partition's rows, or the row of an event."""
    found = {"consumer": tenure.consumer, "stream": tenure.stream, "partition": tenure.partition}
    return found if event is None else found | {"key": event.key, "sequence": event.sequence}


async def _owned(tx: Transaction, tenure: Tenure) -> None:
    """Hold the partition until the transaction ends."""
    if (await tx.execute(_EPOCH.of(tx.dialect), _of(tenure))).scalar_one() != tenure.epoch:
        raise NewerOwnerError(tenure)


def _row(tenure: Tenure, event: Parked) -> dict[str, Any]:
    return {
        **_of(tenure, event),
        "event_id": event.event_id,
        "subject": event.subject,
        "headers": json.dumps(dict(event.headers)),
        "data": event.data,
        "stored_at": event.stored_at,
        "attempts": event.attempts,
        "failures": event.failures,
        "due_in": None if event.due_in is None else float(event.due_in),
        "held": 0.0 if event.held else None,
        "reason": event.reason,
    }


def _parked(row: Any) -> Parked:
    return Parked(
        partition=row.partition,
        key=row.key,
        sequence=row.sequence,
        event_id=row.event_id,
        subject=row.subject,
        headers=json.loads(row.headers),
        data=bytes(row.data),
        stored_at=row.stored_at,
        attempts=row.attempts,
        failures=row.failures,
        reason=row.reason,
        due_in=row.due_in,
        held=row.held_at is not None,
    )
