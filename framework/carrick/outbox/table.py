"""The statements of the outbox: what is pending, who may publish it, and what became of it.

Each function is one statement or two in the caller's transaction. Times are seconds of the database's clock.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from carrick.outbox.words import GENUINE, IS_PENDING
from carrick.store.dialect import Sql
from carrick.store.transaction import Result, Transaction

__all__ = [
    "all_positions",
    "beat",
    "clock",
    "due_in",
    "forget_positions",
    "leave",
    "let_go",
    "mark",
    "mark_expired",
    "mark_stored",
    "pending",
    "positions",
    "publish_due",
    "published_after",
    "published_subjects",
    "purge",
    "quarantine",
    "renew",
    "renew_at",
    "set_positions",
    "take",
    "unmark",
    "unpublished",
]

_PHRASES = {
    "{is_pending}": IS_PENDING,
    "{genuine}": GENUINE,
    "{among_seqs}": "seq IN {seqs} AND seq >= :first AND seq <= :last",
}
"""The last keeps a statement that was planned for a small table from reading all of an index once it is large."""


class _Statement:
    """One statement in the words of each database. ``{name}`` is a list that is given as a parameter, of that type."""

    def __init__(self, text: str, **lists: str) -> None:
        for phrase, words in _PHRASES.items():
            text = text.replace(phrase, words)
        self._lists = tuple(lists)
        sqlite = postgresql = text
        for name, kind in lists.items():
            sqlite = sqlite.replace(f"{{{name}}}", f"(SELECT value FROM json_each(:{name}))")  # noqa: S608
            postgresql = postgresql.replace(f"{{{name}}}", f"(SELECT unnest(CAST(:{name} AS {kind}[])))")
        self._sql = Sql(sqlite=Sql.template(sqlite).sqlite, postgresql=Sql.template(postgresql).postgresql)

    async def run(self, tx: Transaction, **parameters: Any) -> Result:
        """Run it."""
        for name in self._lists:
            values = list(parameters[name])
            parameters[name] = values if tx.dialect == "postgresql" else json.dumps(values)
        return await tx.execute(self._sql.of(tx.dialect), parameters)

    async def run_each(self, tx: Transaction, parameters: Sequence[Mapping[str, Any]]) -> Result:
        """Run it once for each of the parameters, none of which is a list."""
        return await tx.execute(self._sql.of(tx.dialect), parameters)


_PENDING = _Statement(
    """
    SELECT seq, id, stream, stream_subjects, subject, partition, key, payload, headers, unordered, created_at,
        CASE WHEN expires_at <= {now} THEN 1 ELSE 0 END AS expired
    FROM (
        SELECT batch.*, sum(length(payload)) OVER (ORDER BY seq) - length(payload) AS bytes_before
        FROM (
            SELECT * FROM carrick_outbox AS event
            WHERE {is_pending} AND partition IN {partitions} AND stream NOT IN {resting}
                AND (unordered OR NOT EXISTS (
                    SELECT 1 FROM carrick_outbox AS refused
                    WHERE refused.refused_at IS NOT NULL AND refused.published_at IS NULL AND NOT refused.unordered
                        AND refused.partition = event.partition AND refused.key = event.key
                        AND refused.seq < event.seq))
            ORDER BY seq LIMIT :most
        ) AS batch
    ) AS measured
    WHERE bytes_before < :most_bytes ORDER BY seq
    """,
    partitions="smallint",
    resting="text",
)
_UNPUBLISHED = _Statement("SELECT count(*) AS depth FROM carrick_outbox WHERE {is_pending}")
_DUE_IN = _Statement("SELECT min(due_at) - {now} AS seconds FROM carrick_outbox WHERE due_at IS NOT NULL")
_PUBLISH_DUE = _Statement(
    """
    UPDATE carrick_outbox SET created_at = {greatest}(created_at, due_at), due_at = NULL WHERE id IN (
        SELECT id FROM carrick_outbox WHERE due_at <= (SELECT {now}) ORDER BY due_at LIMIT :most {skip_locked})
    """
)
_MARK = _Statement("UPDATE carrick_outbox SET published_at = {now} WHERE {among_seqs} AND {is_pending}", seqs="bigint")
_MARK_EXPIRED = _Statement(
    "UPDATE carrick_outbox SET published_at = {now}, refusal = 'expired' WHERE {among_seqs} AND {is_pending}",
    seqs="bigint",
)
_MARK_STORED = _Statement(
    """
    UPDATE carrick_outbox SET published_at = {now} WHERE published_at IS NULL AND id IN {ids}
    RETURNING id, published_at - created_at AS age
    """,
    ids="text",
)
_QUARANTINE = _Statement(
    "UPDATE carrick_outbox SET refused_at = {now}, refusal = :reason WHERE seq = :seq AND {is_pending}"
)
_PURGE = _Statement(
    """
    DELETE FROM carrick_outbox WHERE id IN (
        SELECT id FROM carrick_outbox WHERE published_at <= (SELECT {now}) - :age
        ORDER BY published_at LIMIT :most {skip_locked})
    """
)
_BEAT = _Statement(
    """
    INSERT INTO carrick_outbox_relay (owner, name, ttl, until) VALUES (:owner, :name, :ttl, {now} + :ttl)
    ON CONFLICT (owner) DO UPDATE SET ttl = excluded.ttl, until = excluded.until
    """
)
_FORGET_RELAYS = _Statement("DELETE FROM carrick_outbox_relay WHERE NOT ({genuine}) OR owner = :owner")
_RELAYS = _Statement("SELECT count(*) AS relays FROM carrick_outbox_relay WHERE {genuine}")
_RENEW = _Statement(
    """
    UPDATE carrick_outbox_lease SET ttl = :ttl, until = {now} + :ttl WHERE owner = :owner RETURNING partition, until
    """
)
_TAKE = _Statement(
    """
    UPDATE carrick_outbox_lease SET owner = :owner, epoch = epoch + 1, ttl = :ttl, until = {now} + :ttl
    WHERE partition IN (
        SELECT partition FROM carrick_outbox_lease WHERE NOT ({genuine})
        ORDER BY partition LIMIT :most {skip_locked})
    RETURNING partition
    """
)
_LET_GO = _Statement(
    "UPDATE carrick_outbox_lease SET owner = '', until = 0 WHERE owner = :owner AND partition IN {partitions}",
    partitions="smallint",
)
_POSITIONS = _Statement(
    "SELECT subject, sequence FROM carrick_outbox_position WHERE stream = :stream AND subject IN {subjects}",
    subjects="text",
)
_SET_POSITION = _Statement(
    """
    INSERT INTO carrick_outbox_position (stream, subject, sequence) VALUES (:stream, :subject, :sequence)
    ON CONFLICT (stream, subject) DO UPDATE SET sequence = excluded.sequence
    """
)
_FORGET_POSITIONS = _Statement(
    "DELETE FROM carrick_outbox_position WHERE stream = :stream AND subject IN {subjects}", subjects="text"
)
_ALL_POSITIONS = _Statement("SELECT stream, subject, sequence FROM carrick_outbox_position ORDER BY stream, subject")
_CLOCK = _Statement("SELECT {now} AS seconds")
_PUBLISHED_SUBJECTS = _Statement(
    """
    SELECT DISTINCT stream, subject FROM carrick_outbox
    WHERE published_at > :after AND published_at <= :until AND refusal IS NULL ORDER BY stream, subject
    """
)
_PUBLISHED_AFTER = _Statement(
    """
    SELECT seq, id, stream, subject, partition, published_at FROM carrick_outbox
    WHERE stream = :stream AND seq > :seq AND refusal IS NULL
        AND published_at + 0 > :after AND published_at + 0 <= :until  -- by seq, not by the index of published_at
    ORDER BY seq LIMIT :most
    """
)
_UNMARK = _Statement(
    """
    UPDATE carrick_outbox SET published_at = NULL
    WHERE {among_seqs} AND published_at <= :until AND refusal IS NULL
    """,
    seqs="bigint",
)


async def pending(
    tx: Transaction, *, partitions: Iterable[int], resting: Iterable[str], most: int, most_bytes: int
) -> Sequence[Any]:
    """Return the next events of some partitions, in order, without those of resting streams and of refused keys.

    At most ``most`` of them; the last one is the one that reaches ``most_bytes`` of payload.
    """
    found = await _PENDING.run(tx, partitions=partitions, resting=resting, most=most, most_bytes=most_bytes)
    return found.all()


async def unpublished(tx: Transaction) -> int:
    """Count the events that are to be published now."""
    return int((await _UNPUBLISHED.run(tx)).scalar_one())


async def due_in(tx: Transaction) -> float | None:
    """Return the seconds until the first of the events that wait for their time, or None when none does."""
    seconds: float | None = (await _DUE_IN.run(tx)).scalar_one()
    return seconds


async def publish_due(tx: Transaction, most: int) -> int:
    """Let the events whose time has come be published. From now on their age is counted from that time."""
    return (await _PUBLISH_DUE.run(tx, most=most)).rowcount


async def mark(tx: Transaction, seqs: Collection[int]) -> None:
    """Mark events as published."""
    if seqs:
        await _MARK.run(tx, **_among(seqs))


async def mark_expired(tx: Transaction, seqs: Collection[int]) -> None:
    """Mark events that are not published any more: their time is over."""
    if seqs:
        await _MARK_EXPIRED.run(tx, **_among(seqs))


async def mark_stored(tx: Transaction, ids: Collection[str]) -> dict[str, float]:
    """Mark events that were found in the stream; return which of them were not yet marked, and their ages."""
    return {row.id: max(row.age, 0.0) for row in (await _MARK_STORED.run(tx, ids=ids)).all()} if ids else {}


async def quarantine(tx: Transaction, seq: int, reason: str) -> None:
    """Put an event aside with the reason; later ones of its key wait for what becomes of it."""
    await _QUARANTINE.run(tx, seq=seq, reason=reason)


async def purge(tx: Transaction, *, age: float, most: int) -> int:
    """Remove events that were published longer ago than ``age``, ``most`` at most; return how many."""
    return (await _PURGE.run(tx, age=age, most=most)).rowcount


async def beat(tx: Transaction, *, owner: str, name: str, ttl: float) -> int:
    """Say that a relay is there for ``ttl`` seconds; return how many are, this one included."""
    await _FORGET_RELAYS.run(tx, owner="")
    await _BEAT.run(tx, owner=owner, name=name, ttl=ttl)
    return int((await _RELAYS.run(tx)).scalar_one())


async def renew(tx: Transaction, *, owner: str, ttl: float) -> set[int]:
    """Hold what is held for another ``ttl`` seconds; return the partitions. They stay so until the transaction ends."""
    held, _ = await renew_at(tx, owner=owner, ttl=ttl)
    return held


async def renew_at(tx: Transaction, *, owner: str, ttl: float) -> tuple[set[int], float]:
    """Renew, and return the database's time too; 0 when nothing is held."""
    rows = (await _RENEW.run(tx, owner=owner, ttl=ttl)).all()
    return {row.partition for row in rows}, max((row.until for row in rows), default=ttl) - ttl


async def take(tx: Transaction, *, owner: str, ttl: float, most: int) -> set[int]:
    """Take partitions that nobody holds any more; return which."""
    return {row.partition for row in (await _TAKE.run(tx, owner=owner, ttl=ttl, most=most)).all()}


async def let_go(tx: Transaction, *, owner: str, partitions: Collection[int]) -> None:
    """Give partitions back."""
    await _LET_GO.run(tx, owner=owner, partitions=partitions)


async def leave(tx: Transaction, *, owner: str) -> None:
    """Say that a relay is there no more."""
    await _FORGET_RELAYS.run(tx, owner=owner)


async def positions(tx: Transaction, stream: str, subjects: Collection[str]) -> dict[str, int]:
    """Return up to which sequence the messages of each subject are known; 0 where none is."""
    found = {row.subject: row.sequence for row in (await _POSITIONS.run(tx, stream=stream, subjects=subjects)).all()}
    return {subject: found.get(subject, 0) for subject in subjects}


async def set_positions(tx: Transaction, stream: str, known: Mapping[str, int]) -> None:
    """Say up to which sequence the messages of each subject are known."""
    if known:
        await _SET_POSITION.run_each(
            tx, [{"stream": stream, "subject": subject, "sequence": each} for subject, each in known.items()]
        )


async def all_positions(tx: Transaction) -> Sequence[Any]:
    """Return up to which sequence the messages of each stream's subjects are known."""
    return (await _ALL_POSITIONS.run(tx)).all()


async def forget_positions(tx: Transaction, stream: str, subjects: Collection[str]) -> None:
    """Have whoever publishes to some subjects next read them from their beginning, and mark what is there."""
    if subjects:
        await _FORGET_POSITIONS.run(tx, stream=stream, subjects=subjects)


async def clock(tx: Transaction) -> float:
    """Return the database's time."""
    return float((await _CLOCK.run(tx)).scalar_one())


async def published_subjects(tx: Transaction, *, after: float, until: float) -> Sequence[Any]:
    """Return the streams and subjects of events that were published in a time, without those that were given up."""
    return (await _PUBLISHED_SUBJECTS.run(tx, after=after, until=until)).all()


async def published_after(
    tx: Transaction, stream: str, *, after: float, until: float, seq: int, most: int
) -> Sequence[Any]:
    """Return the next events behind one that were published in a time, without those that were given up."""
    found = await _PUBLISHED_AFTER.run(tx, stream=stream, after=after, until=until, seq=seq, most=most)
    return found.all()


async def unmark(tx: Transaction, seqs: Collection[int], *, until: float) -> int:
    """Let events that were published up to some time be published again; return how many of them."""
    return (await _UNMARK.run(tx, **_among(seqs), until=until)).rowcount if seqs else 0


def _among(seqs: Collection[int]) -> dict[str, Any]:
    return {"seqs": seqs, "first": min(seqs), "last": max(seqs)}
