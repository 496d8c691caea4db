"""Writing on SQLAlchemy's connections and sessions, with whichever driver is under them."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from carrick.store.transaction import Parameters

__all__ = ["AsyncConnectionWriter", "AsyncSessionWriter", "ConnectionWriter", "SessionWriter"]

_ACTIONS = "carrick.after_commit"


@lru_cache(maxsize=64)
def _text(statement: str) -> TextClause:
    return text(statement)


def _refusal(place: Connection | Session, bind: Engine | Connection, advice: str) -> str | None:
    if _commits_by_itself(bind):
        return (
            "its isolation level is AUTOCOMMIT, which commits each statement by itself; use one that has transactions"
        )
    if place.in_transaction():
        return None
    return (
        "no transaction is under way: SQLAlchemy begins one with the first statement after a commit, and the event "
        f"comes after its cause; write both inside of `{advice}`"
    )


def _commits_by_itself(bind: Engine | Connection) -> bool:
    level = bind.get_execution_options().get("isolation_level")
    return (level or getattr(bind.dialect, "_on_connect_isolation_level", None)) == "AUTOCOMMIT"


class ConnectionWriter:
    """A connection tells of a commit only before it is done. What is sure comes when its pool gets it back.

    A connection that its user keeps open over many transactions is not heard of meanwhile.
    """

    _block = "with connection.begin():"

    def __init__(self, connection: Connection | None) -> None:
        self._sync = connection

    @property
    def dialect(self) -> str:
        """See ``Writer``."""
        return "" if self._sync is None else self._sync.dialect.name

    def refusal(self) -> str | None:
        """See ``Writer``."""
        if self._sync is None or self._sync.closed:
            return "this connection of SQLAlchemy is not open"
        return _refusal(self._sync, self._sync, self._block)

    def execute(self, statement: str, parameters: Parameters) -> Any:
        """See ``SyncWriter``."""
        assert self._sync is not None
        self._sync.execute(_text(statement), parameters)

    def after_commit(self, action: Callable[[], None]) -> None:
        """Call it when the connection goes back to its pool, also after a rollback."""
        assert self._sync is not None
        self._sync.info.setdefault(_ACTIONS, {})[action] = None
        pool = self._sync.engine.pool
        if not event.contains(pool, "checkin", _given_back):
            event.listen(pool, "checkin", _given_back)


class AsyncConnectionWriter(ConnectionWriter):
    """As a ``ConnectionWriter``, from asynchronous code."""

    _block = "async with connection.begin():"

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection.sync_connection)
        self._connection = connection

    async def execute(self, statement: str, parameters: Parameters) -> None:
        """See ``Writer``."""
        await self._connection.execute(_text(statement), parameters)


class SessionWriter:
    """A session tells when it has committed."""

    _block = "with session.begin():"

    def __init__(self, session: Session) -> None:
        self._sync = session

    @property
    def dialect(self) -> str:
        """See ``Writer``."""
        return self._sync.get_bind().dialect.name

    def refusal(self) -> str | None:
        """See ``Writer``."""
        return _refusal(self._sync, self._sync.get_bind(), self._block)

    def execute(self, statement: str, parameters: Parameters) -> Any:
        """See ``SyncWriter``."""
        self._sync.execute(_text(statement), parameters)

    def after_commit(self, action: Callable[[], None]) -> None:
        """See ``Writer``."""
        self._sync.info.setdefault(_ACTIONS, {})[action] = None
        if not event.contains(self._sync, "after_commit", _committed):
            event.listen(self._sync, "after_commit", _committed)


class AsyncSessionWriter(SessionWriter):
    """As a ``SessionWriter``, from asynchronous code."""

    _block = "async with session.begin():"

    def __init__(self, session: AsyncSession) -> None:
        super().__init__(session.sync_session)
        self._session = session

    async def execute(self, statement: str, parameters: Parameters) -> None:
        """See ``Writer``."""
        await self._session.execute(_text(statement), parameters)


def _given_back(connection: object, record: ConnectionPoolEntry) -> None:
    """Run the actions once. What was not committed by now never is."""
    for action in record.info.pop(_ACTIONS, {}):
        action()


def _committed(session: Session) -> None:
    """Run the actions once, after the commit of the whole transaction: savepoints are told of too."""
    if not session.in_nested_transaction():
        for action in session.info.pop(_ACTIONS, {}):
            action()
