"""Connections that users bring, seen as what can write a row in the transaction that is under way on them.

A connection is recognised by the name of its class and package, so no driver is imported but the one in use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol, cast

from carrick.store.dialect import Dialect
from carrick.store.transaction import Parameters, Transaction

__all__ = [
    "ACCEPTED",
    "ACCEPTED_SYNC",
    "SyncWriter",
    "Writer",
    "sync_writer",
    "writer",
]

ACCEPTED = (
    "a transaction of carrick's, SQLAlchemy's AsyncConnection or AsyncSession, asyncpg's Connection, "
    "psycopg's AsyncConnection, or aiosqlite's Connection"
)
ACCEPTED_SYNC = (
    "SQLAlchemy's Connection or Session, psycopg's Connection, sqlite3's Connection, or the transaction of run()"
)


class _Place(Protocol):
    @property
    def dialect(self) -> Dialect | str:
        """Whose SQL it understands. Another name than those of ``Dialect`` is a database that is not served."""
        ...

    def refusal(self) -> str | None:
        """Return None in a transaction, else what is wrong and what to write instead."""
        ...

    def after_commit(self, action: Callable[[], None]) -> None:
        """Call ``action`` after the commit, where the driver tells of it; else never. It may be called needlessly."""
        ...


class Writer(_Place, Protocol):
    """A transaction of whichever driver, from asynchronous code."""

    async def execute(self, statement: str, parameters: Parameters, /) -> object:
        """Run a statement with ``:name`` parameters, in one round trip. Errors are the driver's own."""
        ...


class SyncWriter(_Place, Protocol):
    """A transaction of whichever driver, from code without an event loop."""

    def execute(self, statement: str, parameters: Parameters, /) -> object:
        """Run a statement with ``:name`` parameters, in one round trip. Errors are the driver's own."""
        ...


@dataclass(frozen=True, slots=True)
class _Driver:
    module: str
    writer: str
    sync: bool = False

    def of(self, connection: object) -> Any:
        return getattr(import_module(f"carrick.store.drivers.{self.module}"), self.writer)(connection)


_DRIVERS = {
    ("sqlalchemy", "AsyncConnection"): _Driver("sqlalchemy", "AsyncConnectionWriter"),
    ("sqlalchemy", "AsyncSession"): _Driver("sqlalchemy", "AsyncSessionWriter"),
    ("sqlalchemy", "Connection"): _Driver("sqlalchemy", "ConnectionWriter", sync=True),
    ("sqlalchemy", "Session"): _Driver("sqlalchemy", "SessionWriter", sync=True),
    ("asyncpg", "Connection"): _Driver("asyncpg", "AsyncpgWriter"),
    ("asyncpg", "PoolConnectionProxy"): _Driver("asyncpg", "AsyncpgWriter"),
    ("psycopg", "AsyncConnection"): _Driver("psycopg", "AsyncPsycopgWriter"),
    ("psycopg", "Connection"): _Driver("psycopg", "PsycopgWriter", sync=True),
    ("aiosqlite", "Connection"): _Driver("aiosqlite", "AiosqliteWriter"),
    ("sqlite3", "Connection"): _Driver("sqlite3", "Sqlite3Writer", sync=True),
}


class _Own:
    """carrick's transactions: where there is one, it is under way, or says itself that it has ended."""

    def __init__(self, tx: Any) -> None:
        self.dialect: Dialect = tx.dialect
        self.execute = tx.execute
        self.after_commit = tx.after_commit

    def refusal(self) -> None:
        return None


def writer(connection: object) -> Writer | None:
    """Return the writer of an asynchronous transaction or connection; None for anything else."""
    if isinstance(connection, Transaction):
        return cast("Writer", _Own(connection))
    driver = _driver_of(type(connection).__mro__)
    return None if driver is None or driver.sync else cast("Writer", driver.of(connection))


def sync_writer(connection: object) -> SyncWriter | None:
    """Return the writer of a synchronous transaction or connection; None for anything else."""
    driver = _driver_of(type(connection).__mro__)
    if driver is not None:
        return cast("SyncWriter", driver.of(connection)) if driver.sync else None
    if isinstance(connection, Transaction):
        return None
    if all(hasattr(connection, name) for name in ("dialect", "execute", "after_commit")):
        return cast("SyncWriter", _Own(connection))
    return None


@lru_cache(maxsize=256)
def _driver_of(classes: tuple[type, ...]) -> _Driver | None:
    for each in classes:
        driver = _DRIVERS.get((each.__module__.partition(".")[0], each.__name__))
        if driver is not None:
            return driver
    return None
