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
from carrick.subjects import matches_any_partition

__all__ = [
    "QuarantinedEvent",
    "Selection",
    "counted",
    "drop",
    "find",
    "ids_of",
    "payload_of",
    "quarantined",
    "retry",
]

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
_OF_TYPE = {
    "sqlite": """json_extract(headers, '$."ce-type"') = :type""",
    "postgresql": "CAST(headers AS json) ->> 'ce-type' = :type",
}
_SUBJECTS = f"SELECT DISTINCT subject FROM carrick_outbox WHERE {IS_REFUSED}"  # noqa: S608
_IDS_OF = f"SELECT id FROM carrick_outbox WHERE {IS_REFUSED}"  # noqa: S608
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
    """Subject of the contract, ``orders.placed.v1``, or with its partition, ``orders.placed.v1.p07``; or a pattern."""
    reason: str | None = None
    """A part of what the broker said, in capitals or not."""
    type: str | None = None
    """CloudEvents' type, ``shop.orders.v1.OrderPlaced``."""
    key: str | None = None
    since: float | None = None
    """Refused since then: seconds since the epoch, by the database's clock."""
    until: float | None = None
    """Refused before then."""
    everything: bool = False
    _conditions: list[str] = field(init=False, repr=False, default_factory=list)
    _parameters: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        given = (self.subject, self.reason, self.type, self.key, self.since, self.until)
        chosen = bool(self.ids) or any(each is not None for each in given)
        if chosen == self.everything:
            raise ConfigurationError("say which events: ids, a subject or a part of the reason; or all of them")
        if len(self.ids) > _IDS:
            raise ConfigurationError(f"name {_IDS} ids at most, or choose by subject or reason")
        self._add_ids()
        if self.subject is not None and not self.has_wildcards:
            self._narrow(_OF_SUBJECT, subject=self.subject)
        if self.key is not None:
            self._narrow("key = :key", key=self.key)
        if self.since is not None:
            self._narrow("refused_at >= :since", since=float(self.since))
        if self.until is not None:
            self._narrow("refused_at < :until", until=float(self.until))
        if self.reason is not None:
            self._narrow("lower(refusal) LIKE :reason ESCAPE '!'", reason=f"%{_literal(self.reason.lower())}%")

    @property
    def has_wildcards(self) -> bool:
        """Whether the subject is a pattern."""
        return self.subject is not None and bool({"*", ">"} & set(self.subject.split(".")))

    def _narrow(self, condition: str, **parameters: Any) -> None:
        self._conditions.append(condition)
        self._parameters.update(parameters)

    def _add_ids(self) -> None:
        if self.ids:
            names = [f"id{number}" for number in range(len(self.ids))]
            self._conditions.append(f"id IN ({', '.join(f':{name}' for name in names)})")
            self._parameters.update(zip(names, self.ids, strict=True))

    async def within(self, tx: Transaction, statement: str) -> tuple[str, dict[str, Any]]:
        """Return a statement about quarantined events, narrowed to these, and its parameters."""
        conditions, parameters = [statement, *self._conditions], dict(self._parameters)
        if self.type is not None:
            conditions.append(_OF_TYPE[tx.dialect])
            parameters["type"] = self.type
        if self.has_wildcards:
            rows = (await tx.execute(_SUBJECTS)).all()
            subjects = [row.subject for row in rows if matches_any_partition(row.subject, self.subject or "")]
            named = {f"subject{number}": subject for number, subject in enumerate(subjects)}
            conditions.append(f"subject IN ({', '.join(f':{name}' for name in named)})" if named else "1 = 0")
            parameters.update(named)
        return " AND ".join(conditions), parameters


async def quarantined(
    tx: Transaction, selection: Selection | None = None, *, most: int = 1000
) -> Sequence[QuarantinedEvent]:
    """Return quarantined events in the order in which they were written, the first ``most`` of them."""
    statement, parameters = await (selection or Selection(everything=True)).within(tx, _LIST.of(tx.dialect))
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
    statement, parameters = await selection.within(tx, _COUNT)
    found = await tx.execute(f"{statement} GROUP BY subject ORDER BY subject", parameters)
    return Counter({row.subject: row.events for row in found.all()})


async def ids_of(tx: Transaction, selection: Selection) -> list[str]:
    """Return the ids of quarantined events in the order in which they were written."""
    statement, parameters = await selection.within(tx, _IDS_OF)
    found = await tx.execute(f"{statement} ORDER BY seq", parameters)
    return [row.id for row in found.all()]


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
    narrowed, parameters = await selection.within(tx, statement)
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
