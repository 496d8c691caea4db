"""Events that the broker refused: looking at them, having them tried again, giving them up."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from carrick.errors import ConfigurationError
from carrick.outbox.words import IS_REFUSED
from carrick.store.dialect import Sql
from carrick.store.transaction import Transaction

__all__ = ["QuarantinedEvent", "Selection", "counted", "drop", "find", "payload_of", "quarantined", "retry"]

_IDS = 1000  # named at once; more are chosen by subject or reason
_LIST = Sql.template(
    f"""
    SELECT seq, id, stream, subject, partition, key, headers, length(payload) AS payload_bytes, refusal,
        {{now}} - created_at AS age, {{now}} - refused_at AS refused_for,
        (SELECT count(*) FROM carrick_outbox AS later
            WHERE later.published_at IS NULL AND later.refused_at IS NULL AND later.due_at IS NULL
                AND NOT later.unordered AND NOT event.unordered
                AND later.partition = event.partition AND later.key = event.key AND later.seq > event.seq) AS behind
    FROM carrick_outbox AS event WHERE {IS_REFUSED}
    """  # noqa: S608  # constants of this module
)
_OF_SUBJECT = """
    CAST(:subject AS text) IN (subject, substr(subject, 1, length(subject) - length('.p00')))
"""
_COUNT = f"SELECT subject, count(*) AS events FROM carrick_outbox WHERE {IS_REFUSED}"  # noqa: S608
_RETRY = f"UPDATE carrick_outbox SET refused_at = NULL, refusal = NULL WHERE {IS_REFUSED}"  # noqa: S608
_DROP = Sql.template(f"UPDATE carrick_outbox SET published_at = {{now}} WHERE {IS_REFUSED}")  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedEvent:
    """An event that the broker refused, without its payload."""

    id: str
    stream: str
    subject: str
    partition: int
    key: str
    headers: Mapping[str, str]
    payload_bytes: int
    reason: str
    age_seconds: float
    """Since it was written, or its time had come."""
    refused_seconds: float
    """Since the broker refused it."""
    behind: int
    """Events of its key that wait for what becomes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which quarantined events: those with all of what is given. To mean all of them ``everything`` must be said."""

    ids: Sequence[str] = ()
    subject: str | None = None
    """Subject of the contract, ``orders.placed.v1``, or with its partition, ``orders.placed.v1.p07``."""
    reason: str | None = None
    """A part of what the broker said, in capitals or not."""
    everything: bool = False
    _conditions: list[str] = field(init=False, repr=False, default_factory=list)
    _parameters: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        chosen = bool(self.ids) or self.subject is not None or self.reason is not None
        if chosen == self.everything:
            raise ConfigurationError("say which events: ids, a subject or a part of the reason; or all of them")
        if len(self.ids) > _IDS:
            raise ConfigurationError(f"name {_IDS} ids at most, or choose by subject or reason")
        self._add_ids()
        if self.subject is not None:
            self._conditions.append(_OF_SUBJECT)
            self._parameters["subject"] = self.subject
        if self.reason is not None:
            self._conditions.append("lower(refusal) LIKE :reason ESCAPE '!'")
            self._parameters["reason"] = f"%{_literal(self.reason.lower())}%"

    def _add_ids(self) -> None:
        if self.ids:
            names = [f"id{number}" for number in range(len(self.ids))]
            self._conditions.append(f"id IN ({', '.join(f':{name}' for name in names)})")
            self._parameters.update(zip(names, self.ids, strict=True))

    def within(self, statement: str) -> tuple[str, dict[str, Any]]:
        """Return a statement about quarantined events, narrowed to these, and its parameters."""
        return " AND ".join([statement, *self._conditions]), dict(self._parameters)


async def quarantined(
    tx: Transaction, selection: Selection | None = None, *, most: int = 1000
) -> Sequence[QuarantinedEvent]:
    """Return quarantined events in the order in which they were written, the first ``most`` of them."""
    statement, parameters = (selection or Selection(everything=True)).within(_LIST.of(tx.dialect))
    found = await tx.execute(f"{statement} ORDER BY seq LIMIT :most", {**parameters, "most": most})
    return [_event(row) for row in found.all()]


async def find(tx: Transaction, event_id: str) -> QuarantinedEvent | None:
    """Return the quarantined event of an id, or None."""
    found = await quarantined(tx, Selection(ids=[event_id]))
    return found[0] if found else None


async def payload_of(tx: Transaction, event_id: str) -> bytes:
    """Return an event's payload."""
    found = await tx.execute("SELECT payload FROM carrick_outbox WHERE id = :id", {"id": event_id})
    return bytes(found.scalar_one())


async def counted(tx: Transaction, selection: Selection) -> Counter[str]:
    """Count quarantined events by their subjects."""
    statement, parameters = selection.within(_COUNT)
    found = await tx.execute(f"{statement} GROUP BY subject ORDER BY subject", parameters)
    return Counter({row.subject: row.events for row in found.all()})


async def retry(tx: Transaction, selection: Selection) -> Counter[str]:
    """Let the relay try events again, each in its place before the later ones of its key; return how many by subject.

    Those that the broker refuses again are quarantined again.
    """
    return await _change(tx, selection, _RETRY)


async def drop(tx: Transaction, selection: Selection) -> Counter[str]:
    """Give events up: they are never published, and the later ones of their keys are; return how many by subject.

    They are kept, with the reason, for as long as published ones.
    """
    return await _change(tx, selection, _DROP.of(tx.dialect))


async def _change(tx: Transaction, selection: Selection, statement: str) -> Counter[str]:
    narrowed, parameters = selection.within(statement)
    changed = await tx.execute(f"{narrowed} RETURNING subject", parameters)
    return Counter(sorted(row.subject for row in changed.all()))


def _event(row: Any) -> QuarantinedEvent:
    return QuarantinedEvent(
        id=row.id,
        stream=row.stream,
        subject=row.subject,
        partition=row.partition,
        key=row.key,
        headers=json.loads(row.headers),
        payload_bytes=row.payload_bytes,
        reason=row.refusal,
        age_seconds=max(row.age, 0.0),
        refused_seconds=max(row.refused_for, 0.0),
        behind=row.behind,
    )


def _literal(text: str) -> str:
    """Escape what LIKE takes for more than itself."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
