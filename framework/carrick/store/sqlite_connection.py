"""How every connection to a SQLite file is set up, and what its errors mean."""

import sqlite3
from pathlib import Path
from typing import Any

from carrick.errors import Code, StoreError

__all__ = ["connect", "set_up", "store_error"]

_NOT_AVAILABLE = (
    "SQLITE_BUSY",
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_LOCKED",
    "SQLITE_NOTADB",
)


def connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open a connection that writes, for the thread that calls."""
    connection = sqlite3.connect(path, timeout=busy_timeout)
    try:
        set_up(connection, writes=True)
    except BaseException:
        connection.close()
        raise
    return connection


def set_up(connection: Any, *, writes: bool) -> None:
    """Have a new connection write ahead (WAL), sync every commit to disk, and check foreign keys.

    Takes a connection of ``sqlite3``, or one that SQLAlchemy made to look like it.
    """
    connection.isolation_level = None  # the driver begins nothing by itself
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    if not writes:
        cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def store_error(error: BaseException | None) -> StoreError | None:
    """Return what to raise for "not available" errors of the driver; None for a statement's own."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_READONLY"):
        return StoreError(
            Code.INTERNAL, "this transaction only reads; write in `async with database.transaction() as tx`"
        )
    if name.startswith(_NOT_AVAILABLE):
        return StoreError(Code.UNAVAILABLE, f"{error} ({name})")
    return None
