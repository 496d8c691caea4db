"""Works in one transaction: each whole or not at all, and none without the commit. No threads, no event loop."""

import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest

from carrick.errors import CarrickError, Code, ConfigurationError, StoreError
from carrick.store.sqlite_group import Control, Ended, GroupOptions, Work, run_group
from carrick.store.sync_transaction import SyncTransaction
from tests.unit.store.faulty import FaultyConnection, connect_faulty, io_error

SOMEBODY: ContextVar[str] = ContextVar("somebody")


class Group:
    """A connection for groups, and another that sees what was committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = connect_faulty(path, 0.0)
        self.connection.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT);"
            "CREATE TABLE late (id INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        self.control = Control(self.connection)
        self.now = 0.0
        self.began: list[Work[Any]] = []

    def run(self, *works: Work[Any], time: float = 1.0) -> Ended:
        """Run a group."""
        return run_group(self.control, list(works), time, lambda: self.now, self.began.append)

    def ids(self) -> list[int]:
        """Return what others see."""
        assert not self.connection.in_transaction
        with closing(sqlite3.connect(self.path)) as other:
            return [row[0] for row in other.execute("SELECT id FROM t ORDER BY id")]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    """A group's surroundings."""
    made = Group(tmp_path / "group.db")
    yield made
    FaultyConnection.faults.clear()
    made.connection.close()


def _work(function: Callable[[SyncTransaction], Any]) -> Work[Any]:
    return Work(function, copy_context(), lambda: None)


def _ended(begun: Sequence[Work[Any]], rest: Sequence[Work[Any]] = (), *, broken: bool = False) -> Ended:
    return Ended(tuple(begun), tuple(rest), broken)


def _insert(number: int) -> Work[Any]:
    def insert(tx: SyncTransaction) -> int:
        tx.execute("INSERT INTO t (id) VALUES (:id)", {"id": number})
        return number

    return _work(insert)


def _raises(work: Work[Any], kind: type[BaseException], match: str) -> BaseException:
    with pytest.raises(kind, match=match) as caught:
        work.result()
    assert work.tx is None
    return caught.value


def test_works_share_a_commit(group: Group) -> None:
    """One BEGIN and one COMMIT for all; each has its own result."""
    seen: list[str] = []
    group.connection.set_trace_callback(seen.append)
    works = [_insert(1), _insert(2), _insert(3)]
    assert group.run(*works) == _ended(works)
    assert [work.result() for work in works] == group.ids() == [1, 2, 3]
    assert [sum(sql.startswith(word) for sql in seen) for word in ("BEGIN", "COMMIT")] == [1, 1]
    assert group.began == works


def test_a_work_that_raises_is_undone_alone(group: Group) -> None:
    """Its neighbours are committed; what it wrote before it raised is not."""

    def fail(tx: SyncTransaction) -> None:
        tx.execute("INSERT INTO t (id) VALUES (7)")
        raise KeyError("of the user's own")

    before, bad, after = _insert(1), _work(fail), _insert(2)
    group.run(before, bad, after)
    _raises(bad, KeyError, "of the user's own")
    assert (before.result(), after.result(), group.ids()) == (1, 2, [1, 2])


def test_a_statements_error_may_be_handled_by_the_work(group: Group) -> None:
    """A constraint that a work expects undoes its statement only, as in any transaction."""

    def insert_or_update(tx: SyncTransaction) -> str:
        try:
            tx.execute("INSERT INTO t (id) VALUES (1)")
        except sqlite3.IntegrityError:
            tx.execute("UPDATE t SET note = 'again' WHERE id = 1")
            return "updated"
        return "inserted"

    works = [_work(insert_or_update), _work(insert_or_update)]
    group.run(*works)
    assert [work.result() for work in works] == ["inserted", "updated"]


def test_when_the_commit_fails_nothing_of_the_group_is_there(group: Group) -> None:
    """All hear of it, save who raised before, and the connection is given up."""

    def fail(tx: SyncTransaction) -> None:
        raise KeyError("mine")

    FaultyConnection.faults["COMMIT"] = [io_error()]
    one, bad, two = _insert(1), _work(fail), _insert(2)
    assert group.run(one, bad, two) == _ended([one, bad, two], broken=True)
    for work in (one, two):
        error = _raises(work, StoreError, r"disk I/O error \(SQLITE_IOERR_FSYNC\)")
        assert isinstance(error, StoreError)
        assert error.code is Code.UNAVAILABLE
    _raises(bad, KeyError, "mine")
    assert group.ids() == []


@pytest.mark.parametrize("statement", ["RELEASE", "SAVEPOINT"])
def test_a_failing_disk_within_a_group_fails_all_that_had_begun(group: Group, statement: str) -> None:
    """Whichever statement of the writer's own it strikes."""
    FaultyConnection.faults[statement] = [io_error()]
    one, two = _insert(1), _insert(2)
    assert group.run(one, two) == _ended([one], [two], broken=True)
    _raises(one, StoreError, "disk I/O error")
    assert (two.taken, group.ids()) == (False, [])


def test_without_memory_nobody_waits_for_ever(group: Group) -> None:
    """Errors that are not the driver's end a group like others."""
    FaultyConnection.faults["COMMIT"] = [MemoryError()]
    one = _insert(1)
    assert group.run(one) == _ended([one], broken=True)
    _raises(one, StoreError, "MemoryError")
    assert group.ids() == []


def test_when_there_is_no_lock_all_fail_unbegun(group: Group) -> None:
    """Another process that holds the file makes the group unavailable, with none of its works run."""
    ran: list[int] = []
    works = [_work(lambda tx: ran.append(1)), _insert(1)]
    with closing(sqlite3.connect(group.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert group.run(*works) == _ended(works, broken=True)
    for work in works:
        _raises(work, StoreError, r"UNAVAILABLE: database is locked \(SQLITE_BUSY\)")
    assert (ran, group.began, group.ids()) == ([], [], [])


def test_withdrawn_works_are_passed_over(group: Group) -> None:
    """Who was withdrawn first is not run, and who has begun can't be withdrawn."""
    withdrawn, other = _insert(1), _insert(2)
    assert withdrawn.take()
    assert group.run(withdrawn, other) == _ended([other])
    assert not other.take()
    assert group.ids() == [2]


def test_a_group_takes_in_no_more_when_its_time_is_over(group: Group) -> None:
    """The work under way is finished; the rest is left as it was, for the next group."""

    def slow(tx: SyncTransaction) -> None:
        group.now += 0.3

    works = [_work(slow), _work(slow), _work(slow), _insert(1), _insert(2)]
    ended = group.run(*works, time=0.5)
    assert (list(ended.begun), list(ended.rest), ended.broken) == (works[:2], works[2:], False)
    assert not any(work.taken for work in ended.rest)
    group.run(*ended.rest)
    assert group.ids() == [1, 2]


@pytest.mark.parametrize(
    "by_hand",
    [
        pytest.param(lambda tx: tx.execute("COMMIT"), id="COMMIT"),
        pytest.param(lambda tx: tx.execute("END"), id="END"),
        pytest.param(lambda tx: tx.execute("ROLLBACK"), id="ROLLBACK"),
        pytest.param(lambda tx: tx.execute("BEGIN"), id="BEGIN"),
        pytest.param(lambda tx: tx.execute("RELEASE carrick_work"), id="RELEASE"),
        pytest.param(lambda tx: tx.execute("ROLLBACK TO carrick_work"), id="ROLLBACK TO"),
        pytest.param(lambda tx: tx.connection.execute("COMMIT"), id="raw COMMIT"),
        pytest.param(lambda tx: tx.connection.commit(), id="commit()"),
        pytest.param(lambda tx: tx.connection.rollback(), id="rollback()"),
        pytest.param(lambda tx: tx.connection.executescript("SELECT 1"), id="executescript"),
        pytest.param(lambda tx: tx.connection.__exit__(None, None, None), id="with connection"),
        pytest.param(lambda tx: setattr(tx.connection, "isolation_level", None), id="isolation_level"),
    ],
)
def test_what_ends_the_transaction_by_hand_is_refused(group: Group, by_hand: Callable[[SyncTransaction], Any]) -> None:
    """Before it does anything, each time, and the neighbours are none the worse."""

    def work(tx: SyncTransaction) -> None:
        tx.execute("INSERT INTO t (id) VALUES (:id)", {"id": 50})
        by_hand(tx)

    for round_ in range(2):
        works = [_insert(2 * round_), _work(work), _insert(2 * round_ + 1)]
        group.run(*works)
        error = _raises(works[1], CarrickError, "must not begin, commit or roll back")
        assert isinstance(error, CarrickError)
        assert error.code is Code.INTERNAL
        assert not works[0].failed
    assert group.ids() == [0, 1, 2, 3]


def test_a_work_may_have_savepoints_of_its_own(group: Group) -> None:
    """They nest in the writer's, and one that is left open ends with it."""

    def work(tx: SyncTransaction) -> None:
        tx.execute("SAVEPOINT mine")
        tx.execute("INSERT INTO t (id) VALUES (1)")
        tx.execute("ROLLBACK TO mine")
        tx.execute("INSERT INTO t (id) VALUES (2)")

    group.run(_work(work), _insert(3))
    assert group.ids() == [2, 3]


@pytest.mark.parametrize("plain", [False, True])
def test_what_sqlite_rolls_back_is_lost_for_all_and_nothing_is_written_after_it(group: Group, plain: bool) -> None:
    """A work that swallows the error that cost the transaction can't write on, each statement for itself."""

    def swallow(tx: SyncTransaction) -> str:
        execute: Any = tx.connection.execute if plain else tx.execute
        for statement in ("INSERT OR ROLLBACK INTO t (id) VALUES (1)", "INSERT INTO t (id) VALUES (5)"):
            try:
                execute(statement)
            except (sqlite3.Error, StoreError):
                continue
        return "all well"

    one, bad, two = _insert(1), _work(swallow), _insert(2)
    assert group.run(one, bad, two) == _ended([one, bad], [two])
    for work in (one, bad):
        error = _raises(work, StoreError, "that this function shared with others was rolled back")
        assert isinstance(error, StoreError)
        assert error.code is Code.ABORTED
    assert group.ids() == []
    group.run(two)
    assert group.ids() == [2]


def test_a_transaction_that_sqlite_rolled_back_says_so(group: Group) -> None:
    """Reading on would see what is not in the transaction any more."""

    def read_on(tx: SyncTransaction) -> None:
        with pytest.raises(sqlite3.IntegrityError):
            tx.execute("INSERT OR ROLLBACK INTO t (id) VALUES (1)")
        tx.execute("SELECT 1")

    bad = _work(read_on)
    group.run(_insert(1), bad)
    _raises(bad, StoreError, "SQLite has rolled this transaction back: UNIQUE")


def test_a_failing_disk_that_costs_the_transaction_is_told_to_all(group: Group) -> None:
    """SQLite rolls back after some errors by itself: neighbours hear that the database is not available, and why."""

    def fail(tx: SyncTransaction) -> None:
        group.control.undo()  # what SQLite does with the error
        FaultyConnection.faults["SELECT 1"] = [io_error()]
        tx.execute("SELECT 1")

    one, bad, two = _insert(1), _work(fail), _insert(2)
    assert group.run(one, bad, two) == _ended([one, bad], [two])
    for work in (one, bad):
        _raises(work, StoreError, r"UNAVAILABLE: disk I/O error \(SQLITE_IOERR_FSYNC\)")
    assert group.ids() == []


def test_who_lets_the_error_pass_that_cost_the_transaction_gets_it(group: Group) -> None:
    """Its neighbours are told of it as the cause."""
    one, bad = _insert(1), _work(lambda tx: tx.execute("INSERT OR ROLLBACK INTO t (id) VALUES (1)"))
    group.run(one, bad)
    _raises(bad, sqlite3.IntegrityError, "UNIQUE")
    assert isinstance(_raises(one, StoreError, "UNIQUE").__cause__, sqlite3.IntegrityError)
    assert group.ids() == []


def test_a_commit_that_a_constraint_refuses_is_the_only_works_error(group: Group) -> None:
    """A deferred foreign key: by itself a work gets the driver's error; with others all are told to try again."""
    late = "INSERT INTO late VALUES (99)"
    alone = _work(lambda tx: tx.execute(late))
    assert group.run(alone) == _ended([alone])
    _raises(alone, sqlite3.IntegrityError, "FOREIGN KEY")
    one, bad = _insert(1), _work(lambda tx: tx.execute(late))
    assert group.run(one, bad) == _ended([one, bad])
    for work in (one, bad):
        assert "ABORTED" in str(_raises(work, StoreError, "FOREIGN KEY"))
    group.run(_insert(2))
    assert group.ids() == [2]


def test_a_work_that_closes_the_connection_costs_the_group(group: Group) -> None:
    """Nothing is there, all are told, and the connection is given up."""
    one, bad = _insert(1), _work(lambda tx: tx.connection.close())
    assert group.run(one, bad) == _ended([one, bad], broken=True)
    for work in (one, bad):
        _raises(work, StoreError, "closed database")
    with closing(sqlite3.connect(group.path)) as other:
        assert other.execute("SELECT * FROM t").fetchall() == []


async def _coroutine(tx: SyncTransaction) -> None:
    tx.execute("INSERT INTO t (id) VALUES (9)")


def _generator(tx: SyncTransaction) -> Iterator[int]:
    tx.execute("INSERT INTO t (id) VALUES (9)")
    yield 1


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda tx: _coroutine(tx), "this one returned a coroutine"),
        (lambda tx: _generator(tx), "this one returned a generator"),
        (lambda tx: tx.connection.execute("INSERT INTO t (id) VALUES (9) RETURNING id"), "return its rows"),
        (functools.partial(lambda tx: (tx.execute("INSERT INTO t (id) VALUES (9)"), tx.nothing)), "no attribute"),
    ],
)
def test_a_result_that_needs_the_transaction_is_refused(group: Group, function: Any, match: str) -> None:
    """A coroutine, a generator, a cursor: what it would do, or has done, is not committed."""
    bad = _work(function)
    group.run(_insert(1), bad, _insert(2))
    _raises(bad, (TypeError if "attribute" not in match else AttributeError), match)
    assert group.ids() == [1, 2]


def test_a_transaction_ends_with_its_work(group: Group) -> None:
    """What is used afterwards is refused in words."""
    kept: list[SyncTransaction] = []
    group.run(_work(kept.append))
    with pytest.raises(CarrickError, match="has ended; use it inside the function"):
        kept[0].execute("SELECT 1")


def test_a_work_sees_its_callers_context(group: Group) -> None:
    """Context variables are those of who made the work, and what it sets is nobody else's."""

    def work(tx: SyncTransaction) -> str:
        before = SOMEBODY.get()
        SOMEBODY.set("changed")
        return before

    works = []
    for name in ("ann", "bob"):
        SOMEBODY.set(name)
        works.append(_work(work))
    SOMEBODY.set("nobody")
    group.run(*works)
    assert [work.result() for work in works] == ["ann", "bob"]
    assert SOMEBODY.get() == "nobody"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"most": 0}, "most must be 1 or more, not 0"),
        ({"queue": 0}, "queue must be 1 or more, not 0"),
        ({"time": 0.0}, "time must be more than 0 seconds, not 0.0"),
        ({"time": float("nan")}, "time must be more than 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], match: str) -> None:
    """A bound that lets nothing through is refused at construction."""
    with pytest.raises(ConfigurationError, match=match):
        GroupOptions(**options)
