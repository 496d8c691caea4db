"""``database.run(work)``: whole transactions on one thread, many to a commit."""

# works are plain functions, on a thread of their own

import asyncio
import functools
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from carrick.context import Context, current, enter
from carrick.errors import CarrickError, Code, StoreError
from carrick.store import SyncTransaction
from carrick.store.sqlite import GroupOptions, SqliteDatabase
from tests.unit.store.faulty import FaultyConnection, connect_faulty, io_error
from tests.unit.testing.programs import until, until_closed

THREAD = "carrick-sqlite-writer"


def _writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


@pytest.fixture(autouse=True)
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[BaseException | None]]]:
    """What the writer's connections fail at; and no writer's thread is left behind."""
    monkeypatch.setattr("carrick.store.sqlite.connect", connect_faulty)
    yield FaultyConnection.faults
    FaultyConnection.faults.clear()
    assert _writers() == []


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A database with two tables that are always written together."""
    async with _database(tmp_path / "shop.db") as database:
        await database.run(
            lambda tx: [tx.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)") for name in ("orders", "events")]
        )
        yield database
    await until_closed()


def _database(path: Path, **options: Any) -> SqliteDatabase:
    return SqliteDatabase(path, busy_timeout=0.05, groups=GroupOptions(**options))


def _insert(number: int, committed: list[int], tx: SyncTransaction) -> int:
    tx.after_commit(lambda: committed.append(number))
    tx.execute("INSERT INTO orders VALUES (:id)", {"id": number})
    tx.execute("INSERT INTO events VALUES (:id)", {"id": number})
    return number


def _append(order: list[int], number: int, tx: SyncTransaction) -> None:
    order.append(number)


def _pragma(name: str, tx: SyncTransaction) -> object:
    return tx.execute(f"PRAGMA {name}").scalar_one()


async def _write(database: SqliteDatabase, number: int, committed: list[int]) -> int:
    return await database.run(functools.partial(_insert, number, committed))


def _ids(database: SqliteDatabase, table: str = "orders") -> list[int]:
    """Read on a connection of another's: sees only what was committed."""
    with closing(sqlite3.connect(database.path)) as other:
        return [row[0] for row in other.execute(f"SELECT id FROM {table} ORDER BY id")]


class Gate:
    """A work that holds the writer until it is opened."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._begun = threading.Event()
        self._opened = threading.Event()
        self.task = asyncio.create_task(database.run(self))

    def __call__(self, tx: SyncTransaction) -> str:
        self._begun.set()
        assert self._opened.wait(20.0)
        return "opened"

    async def begun(self) -> None:
        """Return when the writer is held."""
        await until(self._begun.is_set)

    def open(self) -> None:
        """Let go."""
        self._opened.set()


async def test_a_result_is_returned_after_the_commit(db: SqliteDatabase) -> None:
    """What a work wrote is there once ``run`` has returned what it returned."""
    assert await _write(db, 1, []) == 1
    assert _ids(db) == _ids(db, "events") == [1]


async def test_a_work_that_raises_is_undone(db: SqliteDatabase) -> None:
    """Its caller, and nobody else, gets the error."""

    def fail(tx: SyncTransaction) -> None:
        _insert(2, committed, tx)
        raise KeyError("of the user's own")

    committed: list[int] = []
    results = await asyncio.gather(
        _write(db, 1, committed), db.run(fail), _write(db, 3, committed), return_exceptions=True
    )
    assert (results[0], results[2]) == (1, 3)
    assert isinstance(results[1], KeyError)
    assert _ids(db) == _ids(db, "events") == committed == [1, 3]


async def test_callers_that_wait_at_a_time_share_a_commit(db: SqliteDatabase) -> None:
    """Fifty that come together are committed together, in the order in which they came."""
    seen: list[str] = []
    await db.run(lambda tx: tx.connection.set_trace_callback(seen.append))
    committed: list[int] = []
    assert await asyncio.gather(*(_write(db, number, committed) for number in range(50))) == list(range(50))
    assert sum(sql.startswith("COMMIT") for sql in seen) == 2  # the first is that of the work that looks
    assert committed == list(range(50))


async def test_a_group_is_bounded(tmp_path: Path) -> None:
    """No more works share a commit than the options say."""
    async with _database(tmp_path / "shop.db", most=20) as db:
        seen: list[str] = []
        await db.run(lambda tx: tx.connection.set_trace_callback(seen.append))
        await asyncio.gather(*(db.run(lambda tx: None) for _ in range(50)))
        assert sum(sql.startswith("COMMIT") for sql in seen) == 1 + 3


async def test_a_groups_time_is_bounded(tmp_path: Path) -> None:
    """What is not begun in time is committed with the next group, in its order."""
    async with _database(tmp_path / "shop.db", time=1e-9) as db:
        seen: list[str] = []
        await db.run(lambda tx: tx.connection.set_trace_callback(seen.append))
        order: list[int] = []
        await asyncio.gather(*(db.run(functools.partial(_append, order, number)) for number in range(5)))
        assert sum(sql.startswith("COMMIT") for sql in seen) == 1 + 5
        assert order == list(range(5))


async def test_nobody_hears_of_success_before_the_commit(
    db: SqliteDatabase, faults: dict[str, list[BaseException | None]]
) -> None:
    """When the commit fails every caller of the group gets an error, no action is run, and nothing is there."""
    before = await db.run(lambda tx: tx.connection)
    faults["COMMIT"] = [io_error()]
    committed: list[int] = []
    results = await asyncio.gather(*(_write(db, number, committed) for number in range(5)), return_exceptions=True)
    for result in results:
        assert isinstance(result, StoreError)
        assert (result.code, "disk I/O error" in result.message) == (Code.UNAVAILABLE, True)
    assert _ids(db) == _ids(db, "events") == committed == []
    assert await _write(db, 9, committed) == 9
    assert await db.run(lambda tx: tx.connection) is not before
    assert _ids(db) == committed == [9]


async def test_a_full_disk_leaves_nothing_half_written(db: SqliteDatabase) -> None:
    """Whoever finds no room is told so and undone; rows and acknowledgements agree; with room again all goes on."""
    await db.run(lambda tx: tx.execute("CREATE TABLE big (id INTEGER PRIMARY KEY, half INTEGER, filling BLOB)"))
    pages = await db.run(lambda tx: int(tx.execute("PRAGMA page_count").scalar_one()))
    await db.run(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages + 40}").all())
    committed: list[int] = []

    def fill(number: int, tx: SyncTransaction) -> None:
        tx.after_commit(lambda: committed.append(number))
        for half in range(2):
            tx.execute(
                "INSERT INTO big VALUES (:id, :half, zeroblob(10000))", {"id": 2 * number + half, "half": number}
            )

    results = await asyncio.gather(
        *(db.run(functools.partial(fill, number)) for number in range(30)), return_exceptions=True
    )
    refused = [result for result in results if result is not None]
    for error in refused:
        assert isinstance(error, StoreError)
        assert "full" in error.message
    assert 0 < len(refused) < 30
    async with db.read() as tx:
        rows = (await tx.execute("SELECT half, count(*) FROM big GROUP BY half ORDER BY half")).all()
    assert rows == [(number, 2) for number in sorted(committed)]
    await db.run(lambda tx: tx.execute("PRAGMA max_page_count = 1000000").all())
    await db.run(functools.partial(fill, 50))
    assert committed[-1] == 50


async def test_a_locked_database_is_a_store_error(db: SqliteDatabase) -> None:
    """A lock that another process holds for too long fails the works that wait for it, unrun; later ones go on."""
    committed: list[int] = []
    with closing(sqlite3.connect(db.path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for result in await asyncio.gather(*(_write(db, i, committed) for i in range(3)), return_exceptions=True):
            assert isinstance(result, StoreError)
            assert (result.code, result.message) == (Code.UNAVAILABLE, "database is locked (SQLITE_BUSY)")
        other.execute("ROLLBACK")
    await _write(db, 9, committed)
    assert _ids(db) == committed == [9]


async def test_a_file_that_can_not_be_opened_is_a_store_error(tmp_path: Path) -> None:
    """A database that was never opened connects when it must, and says what it can't."""
    db = SqliteDatabase(tmp_path / "missing" / "shop.db")
    with pytest.raises(StoreError, match="unable to open database file"):
        await db.run(lambda tx: None)
    await db.close()


async def test_a_thread_that_can_not_be_had_is_a_store_error(
    db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody waits for it for ever."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    other = _database(tmp_path / "other.db")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StoreError, match="can't start new thread"):
            await other.run(lambda tx: None)
    assert await other.run(lambda tx: 1) == 1
    await other.close()


async def test_a_work_sees_the_context_of_its_caller(db: SqliteDatabase) -> None:
    """The current call is that of each caller, though others share the transaction; actions see it too."""
    seen: list[str] = []

    def work(tx: SyncTransaction) -> str:
        ctx = current()
        assert ctx is not None
        tx.after_commit(lambda: seen.append((current() or ctx).correlation_id))
        return ctx.correlation_id

    async def call(number: int) -> str:
        with enter(Context(None, correlation_id=f"call-{number}")):
            return await db.run(work)

    ids = [f"call-{number}" for number in range(5)]
    assert await asyncio.gather(*map(call, range(5))) == ids
    assert seen == ids


async def test_actions_run_on_the_event_loops_thread(db: SqliteDatabase) -> None:
    """After the commit, before ``run`` returns; the work itself runs on another thread."""
    threads: list[tuple[str, threading.Thread, list[int]]] = []

    def work(tx: SyncTransaction) -> None:
        _insert(1, [], tx)
        threads.append(("work", threading.current_thread(), _ids(db)))
        tx.after_commit(lambda: threads.append(("action", threading.current_thread(), _ids(db))))

    await db.run(work)
    (_, writer, before), (_, loop, after) = threads
    assert (writer.name, loop) == (THREAD, threading.current_thread())
    assert (before, after) == ([], [1])


async def test_an_action_that_raises_is_its_own_callers_trouble(db: SqliteDatabase) -> None:
    """The neighbours' actions are run, and all is committed."""

    def work(tx: SyncTransaction) -> None:
        _insert(1, [], tx)
        tx.after_commit(functools.partial([1].remove, 2))

    committed: list[int] = []
    failed, written = await asyncio.gather(db.run(work), _write(db, 2, committed), return_exceptions=True)
    assert isinstance(failed, ValueError)
    assert [written] == committed == [2]
    assert _ids(db) == [1, 2]


async def test_a_cancellation_before_it_has_begun_withdraws_a_work(db: SqliteDatabase) -> None:
    """It is not run, whether it waits for its group or its group for it."""
    committed: list[int] = []
    first = Gate(db)
    await first.begun()
    waiting = asyncio.create_task(_write(db, 1, committed))
    second = Gate(db)
    together = asyncio.create_task(_write(db, 2, committed))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.open()
    await second.begun()  # and with it, behind it, the third
    together.cancel()
    with pytest.raises(asyncio.CancelledError):
        await together
    second.open()
    assert await second.task == "opened"
    await _write(db, 3, committed)
    assert _ids(db) == committed == [3]


async def test_a_cancellation_after_that_is_raised_when_the_commit_has_decided(db: SqliteDatabase) -> None:
    """However often: the work is committed, its actions are run, and then its caller is cancelled."""
    committed: list[int] = []
    gate = Gate(db)
    gate_task, begun, go_on = gate.task, threading.Event(), threading.Event()

    def work(tx: SyncTransaction) -> None:
        _insert(1, committed, tx)
        begun.set()
        assert go_on.wait(20.0)

    gate.open()
    await gate_task
    task = asyncio.create_task(db.run(work))
    await until(begun.is_set)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _ids(db) == committed == [1]


async def test_who_cancels_all_tasks_strands_nobody(db: SqliteDatabase) -> None:
    """The task that serves the groups is one of them; a caller that is not is served."""
    gate = Gate(db)
    await gate.begun()
    waiting = asyncio.create_task(_write(db, 1, []))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task(), waiting, gate.task}:
        task.cancel()
    await asyncio.sleep(0)
    gate.open()
    assert await waiting == 1
    assert await gate.task == "opened"


async def test_the_queue_is_bounded(tmp_path: Path) -> None:
    """One too many is refused at once; who leaves makes room."""
    async with _database(tmp_path / "shop.db", queue=2) as db:
        gate = Gate(db)
        await gate.begun()
        tasks = [asyncio.create_task(db.run(lambda tx: 1)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="2 functions wait for their transaction") as caught:
            await db.run(lambda tx: 1)
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        tasks.append(asyncio.create_task(db.run(lambda tx: 1)))
        await asyncio.sleep(0)
        gate.open()
        assert await asyncio.gather(*tasks[1:]) == [1, 1]


async def test_behind_a_work_that_never_ends_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the end, each after its own wait, whichever way it wants to write; the log names who holds them up."""
    monkeypatch.setattr("carrick.store.sqlite._PATIENCE", 0.05)
    monkeypatch.setattr("carrick.store.sqlite_writer._LOOK", 0.01)
    async with _database(tmp_path / "shop.db") as db:
        gate = Gate(db)
        together = asyncio.create_task(db.run(lambda tx: 1))  # handed to the thread with it
        await gate.begun()
        waiting = asyncio.create_task(db.run(lambda tx: 1))
        for refused in (together, waiting):
            with pytest.raises(StoreError, match=r"no turn within 0\.05 s") as caught:
                await refused
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
        with pytest.raises(StoreError, match=r"no turn within 0\.05 s"):
            async with db.transaction():
                pytest.fail("entered")
        assert not gate.task.done()
        await until(lambda: "still runs after" in caplog.text)
        assert [(record.name, record.levelno) for record in caplog.records] == [("carrick.store", logging.WARNING)]
        gate.open()
        assert await gate.task == "opened"


async def test_transactions_and_groups_take_turns(db: SqliteDatabase) -> None:
    """Neither shuts the other out: who asked first is next, and works that come meanwhile wait behind."""
    order: list[str] = []
    gate = Gate(db)
    await gate.begun()

    async def transaction(name: str) -> None:
        async with db.transaction() as tx:
            await tx.execute("SELECT 1")
            order.append(name)

    def work(name: str) -> Callable[[SyncTransaction], None]:
        return lambda tx: order.append(name)

    tasks: list[asyncio.Task[None]] = []
    for task in (transaction("t1"), db.run(work("w1")), transaction("t2"), db.run(work("w2"))):
        tasks.append(asyncio.create_task(task))
        await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(*tasks)
    assert order == ["t1", "w1", "w2", "t2"] or order == ["t1", "t2", "w1", "w2"]  # works queue once, together
    assert await gate.task == "opened"


async def test_both_ways_of_writing_lose_nothing_to_each_other(db: SqliteDatabase) -> None:
    """Counters that are read and written by both, and by many, count every time."""
    await db.run(lambda tx: [tx.execute("CREATE TABLE n (i INTEGER)"), tx.execute("INSERT INTO n VALUES (0)")])

    def work(tx: SyncTransaction) -> None:
        count = tx.execute("SELECT i FROM n").scalar_one()
        tx.execute("UPDATE n SET i = :i", {"i": count + 1})

    async def transaction() -> None:
        async with db.transaction() as tx:
            count = (await tx.execute("SELECT i FROM n")).scalar_one()
            await asyncio.sleep(0)
            await tx.execute("UPDATE n SET i = :i", {"i": count + 1})

    await asyncio.gather(*(one for _ in range(40) for one in (transaction(), db.run(work))))
    async with db.read() as tx:
        assert (await tx.execute("SELECT i FROM n")).scalar_one() == 80


async def test_running_inside_a_transaction_is_refused(db: SqliteDatabase) -> None:
    """The work would wait for the transaction, and the transaction for it; closing inside would too."""
    async with db.transaction():
        for inside in (db.run(lambda tx: None), db.close()):
            with pytest.raises(CarrickError, match="already in a transaction on this database"):
                await inside
    await db.run(lambda tx: None)


async def test_a_writers_connection_is_set_up_like_the_others(db: SqliteDatabase) -> None:
    """It writes ahead (WAL), syncs fully and checks foreign keys."""
    for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
        assert await db.run(functools.partial(_pragma, pragma)) == value


async def test_closing_finishes_what_has_begun_and_refuses_the_rest(tmp_path: Path) -> None:
    """What comes later is refused too, until it is opened again; the thread ends with the closing."""
    db = _database(tmp_path / "shop.db", most=1)
    await db.open()
    gate = Gate(db)
    await gate.begun()
    waiting = asyncio.create_task(db.run(lambda tx: 1))
    await asyncio.sleep(0)
    closing_ = asyncio.create_task(db.close())
    await asyncio.sleep(0)
    assert not closing_.done()
    with pytest.raises(StoreError, match=r"shop\.db is closed") as caught:
        await db.run(lambda tx: 1)
    assert caught.value.code is Code.UNAVAILABLE
    gate.open()
    await closing_
    assert _writers() == []
    assert await gate.task == "opened"
    with pytest.raises(StoreError, match="is closed"):
        await waiting
    for begin in (db.transaction, db.read):
        with pytest.raises(StoreError, match="is closed"):
            async with begin():
                pytest.fail("entered")
    async with db:
        assert await db.run(lambda tx: 2) == 2
    await until_closed()


async def test_a_database_that_is_not_run_on_has_no_thread(tmp_path: Path) -> None:
    """The thread comes with the first work; an opening that fails has none to leave behind."""
    async with _database(tmp_path / "shop.db") as db:
        assert _writers() == []
        await db.run(lambda tx: None)
        assert len(_writers()) == 1
    await until_closed()


async def _async(tx: SyncTransaction) -> None:
    """Is not run."""


def _generator(tx: SyncTransaction) -> Iterator[int]:
    yield 1


async def _async_generator(tx: SyncTransaction) -> AsyncIterator[int]:
    yield 1


class _AsyncCall:
    async def __call__(self, tx: SyncTransaction) -> None:
        """Is not run."""


@pytest.mark.parametrize(
    ("work", "match"),
    [
        (_async, "not an async one: write `def`"),
        (functools.partial(_async), "not an async one"),
        (_AsyncCall(), "not an async one"),
        (_generator, "not a generator"),
        (_async_generator, "not a generator"),
        ("SELECT 1", "takes a plain function of a transaction, not a str"),
    ],
)
async def test_what_is_no_plain_function_is_refused(db: SqliteDatabase, work: Any, match: str) -> None:
    """Before it is queued, with what to write instead."""
    with pytest.raises(TypeError, match=match):
        await db.run(work)


@pytest.mark.parametrize(
    ("raised", "heard"),
    [(StopIteration, RuntimeError), (asyncio.CancelledError, asyncio.CancelledError), (SystemExit, SystemExit)],
)
async def test_any_exception_reaches_its_caller(
    db: SqliteDatabase, raised: type[BaseException], heard: type[BaseException]
) -> None:
    """The thread outlives what would end another, and ``StopIteration`` is what it is in any coroutine."""

    def work(tx: SyncTransaction) -> None:
        _insert(1, [], tx)
        raise raised

    with pytest.raises(heard):
        await db.run(work)
    assert _ids(db) == []
    await _write(db, 2, [])
