"""Statements in the words of each database."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Dialect", "Sql"]

Dialect = Literal["sqlite", "postgresql"]

_WORDS = {
    "sqlite": {
        "now": "((julianday('now') - 2440587.5) * 86400.0)",
        "greatest": "MAX",
        "least": "MIN",
        "lock": "",
        "skip_locked": "",
    },
    "postgresql": {
        "now": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
        "greatest": "GREATEST",
        "least": "LEAST",
        "lock": "FOR UPDATE",
        "skip_locked": "FOR UPDATE SKIP LOCKED",
    },
}


@dataclass(frozen=True, slots=True)
class Sql:
    """One statement for each dialect: ``statement.of(tx.dialect)`` is what the transaction's database understands."""

    sqlite: str
    postgresql: str

    @classmethod
    def template(cls, text: str) -> "Sql":
        """Make both from one text, in which each dialect puts its own words.

        ``{now}`` is the database's clock in seconds since the epoch; an index is searched for ``(SELECT {now})``, which
        does not go on while the statement runs. ``{greatest}(a, b)`` and ``{least}(a, b)`` are the functions of that
        meaning. ``{lock}`` and ``{skip_locked}``, at the end of a SELECT, lock its rows; SQLite has one writer at a
        time, and nothing to lock.
        """
        return cls(**{dialect: text.format_map(words) for dialect, words in _WORDS.items()})

    def of(self, dialect: Dialect) -> str:
        """Return the statement for a dialect."""
        return self.sqlite if dialect == "sqlite" else self.postgresql
