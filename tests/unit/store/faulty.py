"""A connection that fails where a test says so."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from carrick.store.sqlite_connection import set_up

__all__ = ["FaultyConnection", "connect_faulty", "io_error"]


def io_error() -> sqlite3.OperationalError:
    """Return what the driver raises when the disk fails."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    return error


class FaultyConnection(sqlite3.Connection):
    """Fails the next statements that begin with what ``faults`` names, before they are run; None lets one pass."""

    faults: ClassVar[dict[str, list[BaseException | None]]] = {}

    @classmethod
    def fail(cls, beginning: str, error: BaseException, *, after: int) -> None:
        """Fail once, after so many that pass."""
        cls.faults[beginning] = [*[None] * after, error]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement, or fail."""
        for beginning, errors in self.faults.items():
            if errors and sql.startswith(beginning) and (error := errors.pop(0)) is not None:
                raise error
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run a statement for each of the parameters."""
        return super().executemany(sql, parameters)


def connect_faulty(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open one in place of ``sqlite_connection.connect``."""
    connection = sqlite3.connect(path, timeout=busy_timeout, factory=FaultyConnection)
    set_up(connection, writes=True)
    return connection
