"""The statement that writes events: one, and one round trip, however many they are.

In PostgreSQL it first locks the events' keys until the end of the transaction, and then has their numbers drawn: so
the events of a key are numbered in the order in which their transactions commit. A lock is one of 4096 slots, so that
a transaction with any number of keys does not fill the server's table of locks; keys that share a slot wait for each
other, which does no harm. Slots are locked in their order, so that two statements can't wait for each other. Events
whose order does not matter take none. In SQLite the one writer at a time is order enough.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carrick.outbox.times import Times
from carrick.store.dialect import Dialect, Sql

__all__ = ["SLOTS", "Row", "insertion", "slot_of"]

SLOTS = 4096
"""How many locks there are for keys."""

_COLUMNS = """id, stream, stream_subjects, subject, partition, key, payload, headers, unordered,
    created_at, due_at, expires_at"""
_FIELDS = ("id", "stream", "stream_subjects", "subject", "partition", "key", "payload", "headers", "unordered")
_TIMES = """{now},
    COALESCE(CAST(:at AS DOUBLE PRECISION), {now} + CAST(:delay AS DOUBLE PRECISION)),
    {now} + CAST(:expires_in AS DOUBLE PRECISION)"""
_LOCK = "pg_advisory_xact_lock(CAST(CAST(CAST('carrick_outbox' AS regclass) AS oid) AS int), CAST({slot} AS int))"
"""The table's own number keeps services in schemas of one database apart. A slot that is NULL locks nothing."""
_NEXT = "nextval('carrick_outbox_seq')"

_ONE = Sql(
    sqlite=Sql.template(f"""
INSERT INTO carrick_outbox ({_COLUMNS})
VALUES (:id, :stream, :stream_subjects, :subject, :partition, :key, :payload, :headers, :unordered, {_TIMES})
""").sqlite,  # noqa: S608  # its own words only
    # a CASE looks at its condition first, and a lock that is held is not NULL; one of a slot that is NULL is
    postgresql=Sql.template(f"""
INSERT INTO carrick_outbox (seq, {_COLUMNS})
VALUES (CASE WHEN {_LOCK.format(slot=":slot")} IS NULL THEN {_NEXT} ELSE {_NEXT} END,
    :id, :stream, :stream_subjects, :subject, :partition, :key, :payload, :headers, :unordered, {_TIMES})
""").postgresql,  # noqa: S608  # its own words only
)
_MANY = Sql(
    sqlite=Sql.template(f"""
INSERT INTO carrick_outbox ({_COLUMNS})
SELECT {", ".join(f"json_extract(value, '$[{place}]')" for place in range(6))},
    COALESCE(substr(:payloads, json_extract(value, '$[7]'), json_extract(value, '$[8]')), x''),
    json_extract(value, '$[6]'), json_extract(value, '$[9]'), {_TIMES}
FROM json_each(:events) ORDER BY json_each.key
""").sqlite,  # noqa: S608  # its own words only
    postgresql=Sql.template(f"""
WITH held AS MATERIALIZED (SELECT {_LOCK.format(slot="slot")} FROM unnest(CAST(:slots AS int[])) AS slot)
INSERT INTO carrick_outbox (seq, {_COLUMNS})
SELECT {_NEXT}, id, stream, stream_subjects, subject, partition, key, payload, headers, unordered, {_TIMES}
FROM (SELECT count(*) FROM held) AS all_held, unnest(
    CAST(:id AS text[]), CAST(:stream AS text[]), CAST(:stream_subjects AS text[]), CAST(:subject AS text[]),
    CAST(:partition AS smallint[]), CAST(:key AS text[]), CAST(:payload AS bytea[]), CAST(:headers AS text[]),
    CAST(:unordered AS boolean[])
) WITH ORDINALITY AS event (id, stream, stream_subjects, subject, partition, key, payload, headers, unordered, place)
ORDER BY place
""").postgresql,  # noqa: S608  # its own words only
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event as the table has it."""

    id: str
    stream: str
    stream_subjects: str
    subject: str
    partition: int
    key: str
    payload: bytes
    headers: str
    unordered: bool = False
    """Whether its key need not be locked."""


def slot_of(key: str) -> int:
    """Return the lock of a key: the same in every process and version (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % SLOTS


def insertion(dialect: Dialect, rows: Sequence[Row], times: Times) -> tuple[str, Mapping[str, Any]]:
    """Return the statement that writes ``rows``, one or more, in their order, and its parameters."""
    when = {"at": times.at, "delay": times.delay, "expires_in": times.expires_in}
    if len(rows) == 1:
        one = _fields(rows[0]) | when
        return _ONE.of(dialect), one if dialect == "sqlite" else one | {
            "slot": None if rows[0].unordered else slot_of(rows[0].key)
        }
    many = _columns(rows) if dialect == "postgresql" else _json(rows)
    return _MANY.of(dialect), many | when


def _fields(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _FIELDS}


def _columns(rows: Sequence[Row]) -> dict[str, Any]:
    columns = {name: [getattr(row, name) for row in rows] for name in _FIELDS}
    return columns | {"slots": sorted({slot_of(row.key) for row in rows if not row.unordered})}


def _json(rows: Sequence[Row]) -> dict[str, Any]:
    """Put the payloads, which JSON has no words for, behind each other, and say where each is (from 1)."""
    events, start = [], 1
    for row in rows:
        fields = [row.id, row.stream, row.stream_subjects, row.subject, row.partition, row.key, row.headers]
        events.append([*fields, start, len(row.payload), row.unordered])
        start += len(row.payload)
    return {"events": json.dumps(events), "payloads": b"".join(row.payload for row in rows)}
