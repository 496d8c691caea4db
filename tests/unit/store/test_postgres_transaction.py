"""Transactions on PostgreSQL: what its errors mean, and what is left when one is cut off."""

# ruff: noqa: PT012  # what raises is the end of a block, not one statement

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import asyncpg
import pytest

from carrick.errors import CarrickError, Code, ConfigurationError, StoreError
from carrick.store.postgres import PostgresDatabase, PostgresTransaction
from carrick.testing import PostgresServer
from carrick.testing.contracts.cancelling import CancelledAt
from tests.unit.testing.programs import until

TABLES = ("CREATE TABLE orders (id INTEGER PRIMARY KEY)", "CREATE TABLE events (id INTEGER PRIMARY KEY)")
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
SLOW_COMMIT = """
CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION doze();
"""


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """A database with two tables that are always written together, and one connection that writes."""
    async with PostgresDatabase(postgres_url, writers=1) as database:
        await _script(database, *TABLES)
        yield database


@pytest.fixture
async def own(postgres_server: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    """The same on a server of the test's own, whose silence is noticed soon."""
    url = postgres_server.create_database()
    async with PostgresDatabase(url, writers=1, statement_timeout=0.5, answer_timeout=0.5) as database:
        await _script(database, *TABLES)
        yield database


async def _script(database: PostgresDatabase, *scripts: str) -> None:
    async with database.transaction() as tx:
        for script in scripts:
            await tx.script(script)


async def _write(database: PostgresDatabase, number: int, committed: list[int]) -> None:
    async with database.transaction() as tx:
        tx.after_commit(lambda: committed.append(number))
        await tx.execute("INSERT INTO orders VALUES (:id)", {"id": number})
        await tx.execute("INSERT INTO events VALUES (:id)", {"id": number})


async def _ids(database: PostgresDatabase, table: str = "orders") -> list[int]:
    async with database.read() as tx:
        return [row.id for row in (await tx.execute(f"SELECT id FROM {table} ORDER BY id")).all()]


async def _holds(database: PostgresDatabase, sql: str) -> bool:
    async with database.read() as tx:
        return bool((await tx.execute(sql)).scalar_one())


async def _pid(tx: PostgresTransaction) -> int:
    return int((await tx.execute("SELECT pg_backend_pid()")).scalar_one())


def _lost(tx: PostgresTransaction) -> bool:
    """Say whether the pool has taken the transaction's connection back."""
    return "[released]" in repr(tx.connection)


async def _terminate(database: PostgresDatabase, where: str) -> None:
    async with database.read() as tx:
        await tx.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}")


async def test_errors_of_a_statement_stay_the_drivers(db: PostgresDatabase) -> None:
    """What is wrong with a statement is the user's own business; it undoes the transaction."""
    for wrong, error in (
        ("INSERT INTO orders VALUES (1)", asyncpg.UniqueViolationError),
        ("SELEC 1", asyncpg.PostgresSyntaxError),
        ("SELECT * FROM missing", asyncpg.UndefinedTableError),
    ):
        with pytest.raises(error):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO orders VALUES (1)")
                await tx.execute(wrong)
    with pytest.raises(asyncpg.DataError):
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (:id)", {"id": "one"})
    assert await _ids(db) == []


async def test_a_swallowed_error_is_not_taken_for_a_commit(db: PostgresDatabase) -> None:
    """PostgreSQL answers COMMIT with a rollback when a statement had failed: the block raises, no action runs."""
    committed: list[int] = []
    with pytest.raises(StoreError, match="nothing was committed: a statement had failed") as caught:
        async with db.transaction() as tx:
            tx.after_commit(lambda: committed.append(1))
            await tx.execute("INSERT INTO orders VALUES (1)")
            with pytest.raises(asyncpg.UniqueViolationError):
                await tx.execute("INSERT INTO orders VALUES (1)")
    assert caught.value.code is Code.INTERNAL
    assert await _ids(db) == committed == []
    await _write(db, 2, committed)
    assert await _ids(db) == [2]


async def test_a_savepoint_keeps_the_rest(db: PostgresDatabase) -> None:
    """An error behind a savepoint undoes what came after it, and no more."""
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO orders VALUES (1)")
        await tx.execute("SAVEPOINT before")
        with pytest.raises(asyncpg.UniqueViolationError):
            await tx.execute("INSERT INTO orders VALUES (1)")
        await tx.execute("ROLLBACK TO before")
        await tx.execute("INSERT INTO orders VALUES (2)")
    assert await _ids(db) == [1, 2]


async def test_a_refused_commit_leaves_no_transaction_open(db: PostgresDatabase) -> None:
    """A deferred foreign key makes COMMIT itself fail, with the driver's error: nothing stays, nobody is told."""
    committed: list[int] = []
    await _script(db, "CREATE TABLE lines (id INTEGER REFERENCES orders DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with db.transaction() as tx:
            tx.after_commit(lambda: committed.append(1))
            await tx.execute("INSERT INTO lines VALUES (77)")
    assert committed == []
    await _write(db, 2, committed)
    assert await _ids(db) == committed == [2]


async def test_a_deadlock_is_aborted(postgres_url: str) -> None:
    """Two that wait for each other: one is ``ABORTED``, to be tried again, the other goes on."""
    async with PostgresDatabase(postgres_url) as db:
        await _script(db, "CREATE TABLE stock (id INTEGER, pieces INTEGER)", "INSERT INTO stock VALUES (1, 0), (2, 0)")
        both = asyncio.Barrier(2)

        async def take(first: int, second: int) -> None:
            async with db.transaction() as tx:
                await tx.execute("UPDATE stock SET pieces = 1 WHERE id = :id", {"id": first})
                await both.wait()
                await tx.execute("UPDATE stock SET pieces = 1 WHERE id = :id", {"id": second})

        results = await asyncio.gather(take(1, 2), take(2, 1), return_exceptions=True)
        errors = [result for result in results if result is not None]
        assert [type(error) for error in errors] == [StoreError]
        assert isinstance(errors[0], StoreError)
        assert errors[0].code is Code.ABORTED
        assert "deadlock" in errors[0].message


async def test_serializable_transactions_do_not_disturb_each_other(postgres_url: str) -> None:
    """Of two that each decide on what the other writes, one is ``ABORTED``."""
    async with PostgresDatabase(postgres_url, isolation="serializable") as db:
        await _script(db, "CREATE TABLE on_call (id INTEGER, here BOOLEAN)", "INSERT INTO on_call VALUES (1, true)")
        await _script(db, "INSERT INTO on_call VALUES (2, true)")
        both = asyncio.Barrier(2)

        async def leave(number: int) -> None:
            async with db.transaction() as tx:
                others = (await tx.execute("SELECT count(*) FROM on_call WHERE here")).scalar_one()
                await both.wait()
                if others > 1:
                    await tx.execute("UPDATE on_call SET here = false WHERE id = :id", {"id": number})

        results = await asyncio.gather(leave(1), leave(2), return_exceptions=True)
        assert sorted(str(result)[:7] for result in results) == ["ABORTED", "None"]


async def test_a_lock_that_is_held_for_too_long_is_not_available(postgres_url: str) -> None:
    """Like SQLite's busy file: ``UNAVAILABLE``, and it passes when the lock is let go."""
    async with PostgresDatabase(postgres_url, lock_timeout=0.05) as db:
        await _script(db, *TABLES)
        async with PostgresDatabase(postgres_url) as other, other.transaction() as holder:
            await holder.execute("LOCK TABLE orders")
            with pytest.raises(StoreError, match="lock timeout") as caught:
                await _write(db, 1, [])
            assert caught.value.code is Code.UNAVAILABLE
        await _write(db, 1, [])


async def test_a_statement_that_takes_too_long_is_ended(postgres_url: str) -> None:
    """``DEADLINE_EXCEEDED``, by the server's own timer; the connection is good for the next."""
    async with PostgresDatabase(postgres_url, writers=1, statement_timeout=0.05) as db:
        with pytest.raises(StoreError, match="statement timeout") as caught:
            async with db.transaction() as tx:
                await tx.execute("SELECT pg_sleep(600)")
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        async with db.transaction() as tx:
            await tx.execute("SELECT 1")


async def test_an_idle_transaction_is_ended(postgres_url: str) -> None:
    """What does nothing while it holds locks loses them, and hears of it at its next statement or commit."""
    async with PostgresDatabase(postgres_url, writers=1, idle_timeout=0.05) as db:
        await _script(db, *TABLES)
        with pytest.raises(StoreError) as caught:
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO orders VALUES (1)")
                await until(lambda: _lost(tx))
                await tx.execute("INSERT INTO orders VALUES (2)")
        assert caught.value.code is Code.UNAVAILABLE
        with pytest.raises(StoreError, match="lost before the commit; nothing was committed"):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO orders VALUES (1)")
                await until(lambda: _lost(tx))
        assert await _ids(db) == []


async def test_too_many_transactions_wait_for_their_turn(db: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind all connections there is a queue, and behind its time an end: ``RESOURCE_EXHAUSTED``."""
    monkeypatch.setattr("carrick.store.postgres._POOL_TIMEOUT", 0.05)

    async def other() -> None:
        async with db.transaction():
            pytest.fail("entered")

    begun, ended = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with db.transaction():
            begun.set()
            await ended.wait()

    holding = asyncio.create_task(hold())
    await begun.wait()
    with pytest.raises(StoreError, match="too many transactions") as caught:
        await other()
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    async with db.read() as tx:  # readers have connections of their own
        await tx.execute("SELECT 1")
    ended.set()
    await holding


async def test_a_server_with_too_many_connections_is_exhausted(db: PostgresDatabase, postgres_url: str) -> None:
    """``RESOURCE_EXHAUSTED`` when the server has no room for one more."""
    role, host = postgres_url.rpartition("/")[2], postgres_url.rpartition("@")[2]
    await _script(db, f"CREATE ROLE {role} LOGIN PASSWORD 'p' CONNECTION LIMIT 1; CREATE SCHEMA AUTHORIZATION {role}")
    async with PostgresDatabase(f"postgresql://{role}:p@{host}", schema=role) as limited, limited.transaction():
        with pytest.raises(StoreError, match="too many connections") as caught:
            async with limited.read():
                pytest.fail("entered")
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
    await _script(db, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def test_a_server_that_takes_no_writes_is_not_available(db: PostgresDatabase) -> None:
    """A standby is not the user's mistake, as a write in a reading transaction is."""
    with pytest.raises(StoreError, match="takes no writes") as caught:
        async with db.transaction() as tx:
            await tx.execute("SET TRANSACTION READ ONLY")
            await tx.execute("INSERT INTO orders VALUES (1)")
    assert caught.value.code is Code.UNAVAILABLE


async def test_a_changed_table_is_aborted_once(db: PostgresDatabase) -> None:
    """A statement prepared before a migration of somebody else's is ``ABORTED``, and works when it is tried again."""
    select = "SELECT * FROM orders"
    async with db.transaction() as tx:
        await tx.execute(select)
    async with db.read() as reader:
        await reader.execute("SELECT 1")
    async with PostgresDatabase(db._url) as other:
        await _script(other, "ALTER TABLE orders ADD COLUMN note TEXT")
    with pytest.raises(StoreError, match="schema was changed") as caught:
        async with db.transaction() as tx:
            await tx.execute(select)
    assert caught.value.code is Code.ABORTED
    async with db.transaction() as tx:
        await tx.execute(select)


async def test_a_parameter_that_is_missing_is_named(db: PostgresDatabase) -> None:
    """A mistake, told before anything is sent."""
    async with db.transaction() as tx:
        for parameters in ({"other": 1}, None, [{"id": 1}, {}]):
            with pytest.raises(StoreError, match=r"the parameter :id, which was not given: INSERT") as caught:
                await tx.execute("INSERT INTO orders VALUES (:id)", parameters)
            assert caught.value.code is Code.INTERNAL
        await tx.execute("INSERT INTO orders VALUES (:id)", [])
    assert await _ids(db) == []


async def test_what_a_session_was_told_is_forgotten(db: PostgresDatabase) -> None:
    """Settings and locks of the session do not outlive the transaction on a connection that others use next."""
    async with db.transaction() as tx:
        await tx.execute("SET application_name = 'somebody'")
        await tx.execute("SELECT pg_advisory_lock(77)")
    async with db.transaction() as tx:
        assert (await tx.execute("SHOW application_name")).scalar_one() == ""
        held = await tx.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77")
        assert held.scalar_one() == 0


async def test_what_was_committed_is_visible_to_its_actions(db: PostgresDatabase, postgres_url: str) -> None:
    """Actions run after the commit, not before."""
    async with PostgresDatabase(postgres_url) as other:
        seen: list[asyncio.Task[list[int]]] = []
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
            tx.after_commit(lambda: seen.append(asyncio.create_task(_ids(other))))
        assert [await task for task in seen] == [[1]]


async def test_a_killed_server_takes_its_transaction_along(
    own: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    """``UNAVAILABLE`` in the middle and at the beginning; after the restart it works, with what was committed."""
    committed: list[int] = []
    await _write(own, 1, committed)
    with pytest.raises(StoreError) as caught:
        async with own.transaction() as tx:
            tx.after_commit(lambda: committed.append(2))
            await tx.execute("INSERT INTO orders VALUES (2)")
            postgres_server.kill()
            await tx.execute("INSERT INTO events VALUES (2)")
    assert caught.value.code is Code.UNAVAILABLE
    with pytest.raises(StoreError, match="Connect call failed") as caught:
        await _write(own, 3, committed)
    assert caught.value.code is Code.UNAVAILABLE
    postgres_server.start()
    await _write(own, 4, committed)
    assert await _ids(own) == await _ids(own, "events") == committed == [1, 4]


async def test_a_server_that_stops_ends_the_transaction(own: PostgresDatabase, postgres_server: PostgresServer) -> None:
    """A restart in order is an outage too, for who is in the middle."""
    with pytest.raises(StoreError) as caught:
        async with own.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
            postgres_server.stop()
            await tx.execute("INSERT INTO events VALUES (1)")
    assert caught.value.code is Code.UNAVAILABLE
    postgres_server.start()
    assert await _ids(own) == []


async def test_connections_lost_while_idle_are_replaced(own: PostgresDatabase, postgres_server: PostgresServer) -> None:
    """A restart between two transactions is not noticed: nothing was done yet on what was lost."""
    await _write(own, 1, [])
    assert await _ids(own) == [1]
    postgres_server.kill()
    postgres_server.start()
    await _write(own, 2, [])
    assert await _ids(own) == [1, 2]


async def test_a_commit_without_an_answer_is_unknown(db: PostgresDatabase) -> None:
    """Neither "committed" nor "not": the error says so, and no action runs."""
    await _script(db, SLOW_COMMIT.format(seconds=600))
    committed: list[int] = []
    writing = asyncio.create_task(_write(db, 1, committed))
    await until(lambda: _holds(db, SLEEPING))
    await _terminate(db, "wait_event = 'PgSleep'")
    with pytest.raises(StoreError, match="it is unknown whether the transaction was committed") as caught:
        await writing
    assert caught.value.code is Code.UNAVAILABLE
    assert committed == []
    async with db.transaction() as tx:
        await tx.execute("SELECT 1")


async def test_a_frozen_server_is_not_waited_for(own: PostgresDatabase, postgres_server: PostgresServer) -> None:
    """No answer to a statement, a beginning or a commit is ``UNAVAILABLE``; after the thaw it works."""
    committed: list[int] = []
    with pytest.raises(StoreError, match="no answer from") as caught:
        async with own.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
            postgres_server.freeze()
            await tx.execute("INSERT INTO events VALUES (1)")
    assert caught.value.code is Code.UNAVAILABLE
    with pytest.raises(StoreError, match="no answer from"):
        await _write(own, 2, committed)
    postgres_server.thaw()
    with pytest.raises(StoreError, match="it is unknown whether the transaction was committed: no answer"):
        async with own.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (3)")
            await tx.execute("INSERT INTO events VALUES (3)")
            postgres_server.freeze()
    postgres_server.thaw()
    await _write(own, 4, committed)
    assert await _ids(own) == await _ids(own, "events")
    assert {4} <= set(await _ids(own)) <= {3, 4}
    assert committed == [4]


async def test_a_statement_on_a_frozen_server_can_be_cancelled(
    own: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    """Neither asking the server to stop nor rolling back is waited for without end."""
    begun = asyncio.Event()

    async def write() -> None:
        async with own.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
            postgres_server.freeze()
            begun.set()
            await tx.execute("INSERT INTO events VALUES (1)")

    writing = asyncio.create_task(write())
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(30):
            await writing
    postgres_server.thaw()
    assert await _ids(own) == []
    await _write(own, 2, [])


async def test_a_cancelled_statement_ends_in_the_server_too(db: PostgresDatabase) -> None:
    """Its locks are let go, its connection is used again, and what was done before it is undone."""
    pids: list[int] = []

    async def write() -> None:
        async with db.transaction() as tx:
            pids.append(await _pid(tx))
            await tx.execute("INSERT INTO orders VALUES (1)")
            await tx.execute("SELECT pg_sleep(600)")

    writing = asyncio.create_task(write())
    await until(lambda: _holds(db, SLEEPING))
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert not await _holds(db, SLEEPING)
    async with db.transaction() as tx:
        assert await _pid(tx) == pids[0]
    assert await _ids(db) == []


async def test_a_transaction_is_not_committed_without_its_cancelled_statement(db: PostgresDatabase) -> None:
    """A timeout around one statement that the block swallows must not leave half of the block's work."""
    with pytest.raises(StoreError, match="was cancelled or got no answer; all of it is undone") as caught:
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await tx.execute("SELECT pg_sleep(600)")
            with pytest.raises(StoreError, match="all of it is undone"):
                await tx.execute("INSERT INTO events VALUES (1)")
    assert caught.value.code is Code.ABORTED
    assert await _ids(db) == await _ids(db, "events") == []


async def test_a_cancellation_during_the_commit_is_raised_after_it(db: PostgresDatabase) -> None:
    """A commit that has begun is finished, however often it is cancelled: rows, actions and the cancellation."""
    await _script(db, SLOW_COMMIT.format(seconds=0.3))
    committed: list[int] = []
    writing = asyncio.create_task(_write(db, 1, committed))
    await until(lambda: _holds(db, SLEEPING))
    for _ in range(3):
        writing.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await _ids(db) == await _ids(db, "events") == committed == [1]


async def test_cancelling_at_each_await_with_a_fresh_connection(db: PostgresDatabase) -> None:
    """Where connecting is part of it too: both rows and the action, or none; and the one connection is free."""
    committed: list[int] = []

    async def write(number: int) -> None:
        await CancelledAt(_write(db, number, committed), number)

    cancelled = 0
    for number in count(1):
        assert db._pools is not None
        await db._pools[0].expire_connections()
        task = asyncio.create_task(write(number))
        async with asyncio.timeout(30):
            await asyncio.wait((task,))
        if not task.cancelled():
            assert task.exception() is None
            break
        cancelled += 1
    assert await _ids(db) == await _ids(db, "events") == committed
    assert cancelled > 4


async def test_a_database_that_is_not_open_says_so(postgres_url: str) -> None:
    """Before ``open`` and after ``close`` there is nothing to begin on."""
    db = PostgresDatabase(postgres_url)
    for _ in range(2):
        for begin in (db.transaction, db.read):
            with pytest.raises(StoreError, match="is not open; open it with"):
                async with begin():
                    pytest.fail("entered")
        async with db:
            pass


@pytest.mark.parametrize("name", ["writers", "readers", "statement_timeout", "lock_timeout", "idle_timeout"])
def test_sizes_and_times_are_above_zero(name: str) -> None:
    """No connections would be no database, no time no statement."""
    options: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigurationError, match=f"{name} must be above 0, not 0"):
        PostgresDatabase("postgresql://localhost/shop", **options)


def test_an_unknown_isolation_is_refused() -> None:
    """A mistyped level is not taken for the weakest."""
    with pytest.raises(CarrickError, match="isolation is one of read committed, repeatable read, serializable"):
        PostgresDatabase("postgresql://localhost/shop", isolation="serialisable")  # type: ignore[arg-type]
