"""What is applied of some components in a database, and what is due."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from carrick.store.dialect import Dialect, Sql
from carrick.store.migrations import Migrations
from carrick.store.transaction import Transaction

__all__ = ["State", "Step", "steps", "unapplied"]

State = Literal["applied", "due", "changed", "newer"]
"""``changed`` is a file that is not what was applied, ``newer`` an applied one that this version does not have."""

_EXISTS = Sql(
    sqlite="SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'carrick_schema'",
    postgresql="SELECT count(*) FROM (SELECT to_regclass('carrick_schema') AS found) AS looked WHERE found IS NOT NULL",
)
_ALL = "SELECT component, version, name, checksum, applied_at FROM carrick_schema ORDER BY version"


@dataclass(frozen=True, slots=True)
class Step:
    """One version of one component."""

    component: str
    version: int
    name: str
    state: State
    applied_at: str | None
    """RFC 3339, by the database's clock; None while it is due."""


async def steps(tx: Transaction, components: Sequence[Migrations]) -> tuple[Step, ...]:
    """Return the versions of components, known or applied, in their order. Changes nothing."""
    exists = (await tx.execute(_EXISTS.of(tx.dialect))).scalar_one()
    rows = (await tx.execute(_ALL)).all() if exists else ()
    return tuple(
        step
        for each in components
        for step in _of_component(
            each, tx.dialect, {row.version: row for row in rows if row.component == each.component}
        )
    )


def unapplied(dialect: Dialect, components: Sequence[Migrations]) -> tuple[Step, ...]:
    """Return the versions of components in a database that is not there yet."""
    return tuple(step for each in components for step in _of_component(each, dialect, {}))


def _of_component(component: Migrations, dialect: Dialect, applied: dict[int, Any]) -> list[Step]:
    found = []
    for known in component.load(dialect):
        row = applied.pop(known.version, None)
        state: State = "due" if row is None else "applied" if row.checksum == known.checksum else "changed"
        found.append(Step(known.component, known.version, known.name, state, row and _moment(row.applied_at)))
    newer = [
        Step(component.component, row.version, row.name, "newer", _moment(row.applied_at)) for row in applied.values()
    ]
    return found + newer


def _moment(applied_at: str | datetime) -> str:
    """SQLite keeps text without a time zone, which is UTC."""
    if isinstance(applied_at, str):
        applied_at = datetime.fromisoformat(applied_at).replace(tzinfo=UTC)
    return applied_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
