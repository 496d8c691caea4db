"""The transaction that a plain function gets from ``database.run(work)``."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

from google.protobuf.message import Message

from carrick.errors import CarrickError, Code, StoreError
from carrick.store._at_once import at_once
from carrick.store.dialect import Dialect
from carrick.store.sqlite_connection import store_error
from carrick.store.transaction import Parameters, Result, Transaction

__all__ = ["SyncTransaction"]

Res = TypeVar("Res", bound=Message)


class SyncTransaction:
    """One local transaction, for a plain function on the writer's thread. It is committed after the function returns.

    ``connection`` is ``sqlite3``'s, for what :meth:`execute` does not do. Neither it nor a cursor of its may be used
    after the function has returned. Beginning, committing and rolling back are the writer's: SQL that does that is
    refused. Savepoints may be used.
    """

    dialect: Dialect = "sqlite"
    """Whose SQL it understands."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.awaited: Transaction = _NeverWaiting(self)
        """The same, for code that is written to be awaited; it never waits."""
        self._ended = False
        self.undone: sqlite3.Error | None = None
        """The error with which SQLite rolled the whole transaction back."""

    def execute(self, sql: str, parameters: Parameters | Sequence[Parameters] | None = None) -> Result:
        """Run SQL with ``:name`` parameters, a list of them once for each, and fetch its rows.

        Raises ``StoreError`` when the database is full or gone. Errors of the statement are ``sqlite3``'s.
        """
        if self._ended:
            raise CarrickError(Code.INTERNAL, "this transaction has ended; use it inside the function given to run()")
        if not isinstance(sql, str):
            raise TypeError(
                f"a transaction of run() takes SQL as text, not a {type(sql).__name__}; SQLAlchemy's statements are "
                "for `async with database.transaction() as tx`"
            )
        if self.undone is not None:
            raise StoreError(
                Code.UNAVAILABLE, f"SQLite has rolled this transaction back: {self.undone}"
            ) from self.undone
        try:
            return self._rows(sql, parameters)
        except sqlite3.Error as error:
            if not self.connection.in_transaction:
                self.undone = error
            mapped = store_error(error)
            if mapped is None:
                raise
            raise mapped from error

    def _rows(self, sql: str, parameters: Parameters | Sequence[Parameters] | None) -> Result:
        if parameters is None:
            cursor = self.connection.execute(sql)
        elif isinstance(parameters, Mapping):
            cursor = self.connection.execute(sql, parameters)
        else:
            cursor = self.connection.executemany(sql, parameters)
        if cursor.description is None:
            return _Rows((), (), cursor.rowcount)
        rows = cursor.fetchall()
        return _Rows(tuple(column[0] for column in cursor.description), rows, cursor.rowcount)

    def reply(self, response: Res) -> Res:
        """Complete the idempotency record of the call being handled with its reply, and return the reply.

        As :meth:`Transaction.reply <carrick.store.Transaction.reply>`.
        """
        return at_once(self.awaited.reply(response))

    def refuse(self, error: CarrickError) -> None:
        """Complete the idempotency record of the call being handled with an error: a refusal that has an effect.

        As :meth:`Transaction.refuse <carrick.store.Transaction.refuse>`. Raise the error after ``run()`` has returned.
        """
        at_once(self.awaited.refuse(error))

    def handled(self) -> None:
        """Record the event being handled in the inbox, so that its effect in this transaction happens once.

        As :meth:`Transaction.handled <carrick.store.Transaction.handled>`.
        """
        at_once(self.awaited.handled())

    def after_commit(self, action: Callable[[], None]) -> None:
        """Call ``action`` on the event loop's thread once the transaction is committed.

        It must be quick and must not raise.
        """
        self.awaited.after_commit(action)

    def committed(self) -> None:
        """Run the actions. For the writer, right after the commit."""
        self.awaited.committed()

    def end(self) -> None:
        """Refuse what is asked from now on. For the writer, when the function is over."""
        self._ended = True


class _NeverWaiting(Transaction):
    """A transaction whose statements are done when they are asked for: runs code that is written to be awaited."""

    dialect: Dialect = "sqlite"

    def __init__(self, tx: SyncTransaction) -> None:
        super().__init__()
        self._tx = tx

    async def execute(self, statement: Any, parameters: Parameters | Sequence[Parameters] | None = None) -> Result:
        return self._tx.execute(statement, parameters)


class _Rows:
    """The rows of a statement, made when they are asked for."""

    __slots__ = ("_columns", "_found", "rowcount")

    def __init__(self, columns: tuple[str, ...], found: Sequence[tuple[Any, ...]], rowcount: int) -> None:
        self._columns = columns
        self._found = found
        self.rowcount = rowcount

    def all(self) -> Sequence[Any]:
        make = _row_class(self._columns)
        return [make(row) for row in self._found]

    def first(self) -> Any | None:
        return _row_class(self._columns)(self._found[0]) if self._found else None

    def scalar_one(self) -> Any:
        if len(self._found) != 1:
            raise LookupError(f"scalar_one() is for one row, and the statement gave {len(self._found)}")
        return self._found[0][0]


@lru_cache(256)
def _row_class(columns: tuple[str, ...]) -> type[tuple[Any, ...]]:
    """Return a tuple whose items are attributes too; of two columns of a name the first."""
    names = {name: index for index, name in reversed(tuple(enumerate(columns))) if not name.startswith("__")}
    return type("Row", (tuple,), {"__slots__": (), **{name: property(itemgetter(i)) for name, i in names.items()}})
