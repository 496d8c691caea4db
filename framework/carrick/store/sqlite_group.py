"""Several works in one transaction of SQLite: each whole or not at all, and one sync to disk for them together.

Nothing here knows of threads or event loops, save that a :class:`Work` is begun by one thread and may be withdrawn by
another.
"""

import inspect
import sqlite3
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from carrick.errors import CarrickError, Code, ConfigurationError, StoreError
from carrick.store.sqlite_connection import store_error
from carrick.store.sync_transaction import SyncTransaction

__all__ = ["Control", "Ended", "GroupOptions", "Work", "not_run", "run_group"]

T = TypeVar("T")
Monotonic = Callable[[], float]

_OWN = "/* carrick */"
"""Makes these statements others than the same words of a user's: the driver keeps prepared ones by their text."""
_BEGIN = f"BEGIN IMMEDIATE {_OWN}"
_COMMIT = f"COMMIT {_OWN}"
_ROLLBACK = f"ROLLBACK {_OWN}"
_NAME = "carrick_work"
_SAVEPOINT = f"SAVEPOINT {_NAME} {_OWN}"
_ROLLBACK_TO = f"ROLLBACK TO {_NAME} {_OWN}"
_RELEASE = f"RELEASE {_NAME} {_OWN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """How many works share a transaction, and how many may wait for theirs."""

    most: int = 128
    """Works in one transaction."""
    time: float = 0.05
    """Seconds after which a transaction takes in no more works. The one that has begun is finished."""
    queue: int = 1024
    """Works that wait. One more is refused with ``RESOURCE_EXHAUSTED``."""

    def __post_init__(self) -> None:
        for name, number in (("most", self.most), ("queue", self.queue)):
            if number < 1:
                raise ConfigurationError(f"GroupOptions: {name} must be 1 or more, not {number}")
        if not self.time > 0:
            raise ConfigurationError(f"GroupOptions: time must be more than 0 seconds, not {self.time}")


class Work(Generic[T]):
    """A plain function that wants a transaction, with the context of its caller and what became of it."""

    __slots__ = ("_error", "_result", "_taken", "context", "function", "settled", "tx")

    def __init__(self, function: Callable[[SyncTransaction], T], context: Context, settled: Callable[[], None]) -> None:
        self.function = function
        self.context = context
        self.settled = settled
        """Called on the event loop's thread when the outcome is known."""
        self.tx: SyncTransaction | None = None
        """There while what it wrote is in the transaction, or committed."""
        self._taken = Lock()
        self._result: T | None = None
        self._error: BaseException | None = None

    def take(self) -> bool:
        """Begin it, or withdraw it: true for the first who asks."""
        return self._taken.acquire(blocking=False)

    @property
    def taken(self) -> bool:
        """Whether it was begun or withdrawn."""
        return self._taken.locked()

    def done(self, tx: SyncTransaction, result: T) -> None:
        """Note what it returned. It counts when the transaction is committed."""
        self.tx = tx
        self._result = result

    def fail(self, error: BaseException) -> None:
        """Note why nothing of it is there."""
        self.tx = None
        self._result = None
        self._error = error

    @property
    def failed(self) -> bool:
        """Whether it was noted why nothing of it is there."""
        return self._error is not None

    def result(self) -> T:
        """Return what it returned, or raise why nothing of it is there."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def describe(self) -> str:
        """Name the function, for logs."""
        return getattr(self.function, "__qualname__", None) or repr(self.function)


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a group: each of ``begun`` has its outcome, ``rest`` was left for want of time."""

    begun: tuple[Work[Any], ...]
    rest: tuple[Work[Any], ...] = ()
    broken: bool = False
    """The connection is not fit for another transaction."""


class Control:
    """The only one that begins and ends transactions on a connection: SQL of others that does is refused."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        # A transaction that SQLite has rolled back by itself would leave later statements to commit one by one. So the
        # driver is told to begin one before them, which is then refused like any other.
        connection.isolation_level = "IMMEDIATE"
        connection.set_authorizer(self._authorize)
        self._mine = False

    def run(self, statement: str) -> None:
        """Run one of the statements that others may not."""
        self._mine = True
        try:
            self.connection.execute(statement)
        finally:
            self._mine = False

    def undo(self) -> bool:
        """Leave no transaction open; say whether that was had."""
        try:
            if self.connection.in_transaction:
                self.run(_ROLLBACK)
        except sqlite3.Error:
            return False
        return True

    def _authorize(self, action: int, first: str | None, second: str | None, database: object, source: object) -> int:
        """Judge a statement when it is prepared."""
        if self._mine:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_TRANSACTION or (action == sqlite3.SQLITE_SAVEPOINT and second == _NAME):
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


def run_group(
    control: Control, works: Sequence[Work[Any]], time: float, monotonic: Monotonic, began: Callable[[Work[Any]], None]
) -> Ended:
    """Run works in one transaction, ``time`` seconds of them, and commit it. ``began`` hears of each.

    Withdrawn works are passed over. A work that raises is undone by itself. When the transaction is lost, all that were
    in it fail.
    """
    begun: list[Work[Any]] = []
    seen = 0
    broken = False
    try:
        control.run(_BEGIN)
        ends = monotonic() + time
        for work in works:
            seen += 1
            if work.take():
                began(work)
                begun.append(work)
                _run(control, work)
                if monotonic() >= ends:
                    break
        control.run(_COMMIT)
    except _UndoneError as error:
        _fail(begun, error.__cause__ or error)
    except BaseException as error:  # noqa: BLE001  # the driver's; or no memory is left, and nobody may wait for ever
        if not seen:  # there is no transaction to be had
            return not_run(works, error)
        refused = isinstance(error, sqlite3.IntegrityError)  # a deferred constraint: nothing but this COMMIT failed
        _fail(begun, error, refused=refused)
        broken = not refused
    return Ended(tuple(begun), tuple(works[seen:]), broken=not control.undo() or broken)


def not_run(works: Sequence[Work[Any]], error: BaseException) -> Ended:
    """Fail all works of a group for which there is no connection or no thread."""
    begun = tuple(work for work in works if work.take())
    for work in begun:
        told = store_error(error) or StoreError(Code.UNAVAILABLE, f"this function could not be run: {error!r}")
        told.__cause__ = error
        work.fail(told)
    return Ended(begun, broken=True)


class _UndoneError(Exception):
    """The whole transaction was rolled back under a work."""


def _run(control: Control, work: Work[Any]) -> None:
    """Run one work in a savepoint of its own."""
    control.run(_SAVEPOINT)
    tx = SyncTransaction(control.connection)
    try:
        result = work.context.run(work.function, tx)
        _check(result)
    except BaseException as error:  # noqa: BLE001  # whatever it is, its caller gets it
        work.fail(_told(error))
        _leave(control, tx.undone or error, _ROLLBACK_TO, _RELEASE)
    else:
        _leave(control, tx.undone, _RELEASE)
        work.done(tx, result)
    finally:
        tx.end()


def _leave(control: Control, cause: BaseException | None, *statements: str) -> None:
    """End the savepoint. Where it is not there any more, neither is what the works before have written."""
    try:
        for statement in statements:
            control.run(statement)
    except sqlite3.Error as error:
        if store_error(error) is not None:
            raise
        raise _UndoneError from cause or error


def _check(result: object) -> None:
    """Refuse results that would still need the transaction."""
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if inspect.iscoroutine(result) or inspect.isgenerator(result):
            result.close()
        raise TypeError(
            "run() takes a plain function that has done all its work when it returns; this one returned a "
            f"{type(result).__name__}"
        )
    if isinstance(result, sqlite3.Cursor):
        result.close()
        raise TypeError("a cursor ends with its transaction; return its rows: cursor.fetchall()")


def _told(error: BaseException) -> BaseException:
    """Return a work's error as its caller is to see it."""
    if getattr(error, "sqlite_errorname", None) == "SQLITE_AUTH":
        told: BaseException = CarrickError(
            Code.INTERNAL,
            "a function given to run() must not begin, commit or roll back: return to have it committed, raise to have "
            "it undone (executescript and `with connection` commit too)",
        )
    else:
        told = store_error(error) or error
    if told is not error:
        told.__cause__ = error
    return told


def _fail(begun: Sequence[Work[Any]], error: BaseException, *, refused: bool = False) -> None:
    """Tell all whose effect is lost with the transaction. Who raised before keeps that."""
    lost = [work for work in begun if not work.failed]
    for work in lost:
        work.fail(error if refused and len(lost) == 1 else _lost(error))  # by itself, it is its own doing


def _lost(error: BaseException) -> StoreError:
    told = store_error(error) or StoreError(
        Code.ABORTED, f"the transaction that this function shared with others was rolled back: {error!r}"
    )
    told.__cause__ = error
    return told
