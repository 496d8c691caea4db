"""Transactions, whatever the database: all or nothing."""

# ruff: noqa: PT012, S608  # what raises is the end of a block; its own words only

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from carrick.errors import CarrickError, Code, StoreError
from carrick.store import Sql
from carrick.testing.contracts.cancelling import CancelledAt
from carrick.testing.contracts.site import StoreDatabase, StoreSite

__all__ = ["TransactionContract"]

_STOCK = Sql.template("SELECT pieces FROM stock {lock}")


async def _write(database: StoreDatabase, number: int, committed: list[int]) -> None:
    async with database.transaction() as tx:
        tx.after_commit(lambda: committed.append(number))
        await tx.execute("INSERT INTO orders VALUES (:id)", {"id": number})
        await tx.execute("INSERT INTO events VALUES (:id)", {"id": number})


async def _ids(database: StoreDatabase, table: str = "orders") -> list[int]:
    """Read on another connection: sees only what was committed."""
    async with database.read() as tx:
        return [row.id for row in (await tx.execute(f"SELECT id FROM {table} ORDER BY id")).all()]


@pytest.mark.asyncio
class TransactionContract:
    """All or nothing, one snapshot for readers, and words for mistakes."""

    @pytest_asyncio.fixture
    async def db(self, store_site: StoreSite) -> AsyncIterator[StoreDatabase]:
        """A database with two tables that are always written together."""
        async with store_site.database(migrations=[]) as database:
            async with database.transaction() as tx:
                await tx.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
                await tx.execute("CREATE TABLE events (id INTEGER PRIMARY KEY)")
            yield database

    async def test_a_block_that_ends_commits(self, db: StoreDatabase) -> None:
        """What a transaction wrote is there once its block has ended."""
        await _write(db, 1, [])
        assert await _ids(db) == [1]
        assert await _ids(db, "events") == [1]

    async def test_a_block_that_raises_rolls_back(self, db: StoreDatabase) -> None:
        """An exception passes through the block and takes everything written with it."""
        with pytest.raises(KeyError, match="of the user's own"):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO orders VALUES (1)")
                raise KeyError("of the user's own")
        assert await _ids(db) == []
        await _write(db, 2, [])
        assert await _ids(db) == [2]

    async def test_a_transaction_inside_a_transaction_is_refused(self, db: StoreDatabase) -> None:
        """A task that begins a second transaction would wait for itself: it is told to pass on the first one."""
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
            with pytest.raises(CarrickError, match="already in a transaction on this database") as caught:
                async with asyncio.timeout(10), db.transaction():
                    pytest.fail("entered")
            assert caught.value.code is Code.INTERNAL
        assert await _ids(db) == [1]

    async def test_a_transaction_in_a_child_task_is_refused_while_its_parents_is_open(self, db: StoreDatabase) -> None:
        """A gathered child would wait for its parent's transaction, and the parent for the child."""

        async def child() -> None:
            async with asyncio.timeout(10), db.transaction():
                pass

        async with db.transaction():
            with pytest.raises(CarrickError, match="already in a transaction"):
                await asyncio.gather(child())
            later = asyncio.create_task(asyncio.sleep(0, child))
        await (await later)()

    async def test_an_ended_transaction_says_so(self, db: StoreDatabase) -> None:
        """What is used after its block is refused in words."""
        async with db.transaction() as tx:
            pass
        with pytest.raises(CarrickError, match="has ended"):
            await tx.execute("SELECT 1")

    async def test_reading_inside_a_transaction_is_allowed(self, db: StoreDatabase) -> None:
        """A reader beside the task's own transaction sees what was committed before."""
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
            async with db.read() as reader:
                assert (await reader.execute("SELECT id FROM orders")).all() == []

    async def test_a_reader_sees_one_snapshot(self, db: StoreDatabase) -> None:
        """What others commit meanwhile does not show in a reading transaction that has begun to read."""
        await _write(db, 1, [])
        async with db.read() as reader:
            assert len((await reader.execute("SELECT id FROM orders")).all()) == 1
            await _write(db, 2, [])
            assert len((await reader.execute("SELECT id FROM orders")).all()) == 1
        async with db.read() as reader:
            assert len((await reader.execute("SELECT id FROM orders")).all()) == 2

    async def test_a_reader_cannot_write(self, db: StoreDatabase) -> None:
        """A write in a reading transaction fails and leaves nothing."""
        with pytest.raises(StoreError, match="this transaction only reads; write in") as caught:
            async with db.read() as reader:
                await reader.execute("INSERT INTO orders VALUES (1)")
        assert caught.value.code is Code.INTERNAL  # a mistake, not an outage that is waited for
        assert await _ids(db) == []

    async def test_after_commit_runs_only_after_the_commit(self, db: StoreDatabase) -> None:
        """Actions run once the transaction has ended, in the order given, and never after a rollback."""
        seen: list[str] = []
        async with db.transaction() as tx:
            tx.after_commit(lambda: seen.append("first"))
            tx.after_commit(lambda: seen.append("second"))
            await tx.execute("INSERT INTO orders VALUES (1)")
            assert seen == []
        assert seen == ["first", "second"]
        with pytest.raises(KeyError):
            async with db.transaction() as tx:
                tx.after_commit(lambda: seen.append("never"))
                raise KeyError
        assert len(seen) == 2

    async def test_a_commit_that_fails_leaves_nothing(self, db: StoreDatabase) -> None:
        """A constraint that is checked at the commit refuses it: no action runs, and the next transaction does."""
        committed: list[int] = []
        deferred = "INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED"
        async with db.transaction() as tx:
            await tx.execute(f"CREATE TABLE lines (order_id {deferred})")
        with pytest.raises(Exception, match=r"(?i)foreign key"):
            async with db.transaction() as tx:
                tx.after_commit(lambda: committed.append(1))
                await tx.execute("INSERT INTO events VALUES (1)")
                await tx.execute("INSERT INTO lines VALUES (77)")
        assert committed == await _ids(db, "events") == []
        await _write(db, 2, committed)
        assert await _ids(db) == committed == [2]

    async def test_cancelling_at_any_moment_commits_all_or_nothing(self, db: StoreDatabase) -> None:
        """Both rows and the action, or none of them, wherever the cancellation strikes; then the next one runs."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        committed: list[int] = []
        await _write(db, 0, committed)
        duration = loop.time() - started
        for number in range(1, 81):
            task = asyncio.create_task(_write(db, number, committed))
            await asyncio.sleep(duration * 1.5 * number / 80)
            task.cancel()
            await asyncio.wait((task,))
        await _write(db, 1000, committed)
        assert await _ids(db) == await _ids(db, "events") == committed
        assert 0 < len(committed) < 82

    async def test_cancelling_at_each_await_commits_all_or_nothing(self, db: StoreDatabase) -> None:
        """At each place where a transaction waits, its commit included; and the next transaction runs."""
        committed: list[int] = []

        async def write(number: int) -> None:
            await CancelledAt(_write(db, number, committed), number)

        cancelled = 0
        for number in count(1):
            task = asyncio.create_task(write(number))
            async with asyncio.timeout(30):
                await asyncio.wait((task,))
            if not task.cancelled():
                assert task.exception() is None
                break
            cancelled += 1
        assert await _ids(db) == await _ids(db, "events") == committed
        assert cancelled > 0

    async def test_a_failing_statement_undoes_the_transaction(self, db: StoreDatabase) -> None:
        """A broken constraint raises the driver's own error, which passes through the block."""
        with pytest.raises(Exception, match=r"(?i)unique|duplicate|constraint"):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO orders VALUES (1)")
                await tx.execute("INSERT INTO orders VALUES (1)")
        assert await _ids(db) == []
        await _write(db, 2, [])
        assert await _ids(db) == [2]

    async def test_concurrent_buyers_sell_exactly_the_stock(self, db: StoreDatabase) -> None:
        """Fifty who want one of ten pieces get ten, when each locks what it decides on."""
        async with db.transaction() as tx:
            await tx.execute("CREATE TABLE stock (pieces INTEGER)")
            await tx.execute("INSERT INTO stock VALUES (10)")

        async def buy() -> bool:
            async with db.transaction() as tx:
                row = (await tx.execute(_STOCK.of(tx.dialect))).first()
                assert row is not None
                if row.pieces == 0:
                    return False
                await asyncio.sleep(0)
                await tx.execute("UPDATE stock SET pieces = :left", {"left": row.pieces - 1})
                return True

        assert sum(await asyncio.gather(*(buy() for _ in range(50)))) == 10

    async def test_results_tell_rows_and_their_number(self, db: StoreDatabase) -> None:
        """Columns are attributes; a change tells how many rows it changed."""
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (:id)", [{"id": number} for number in range(5)])
            assert (await tx.execute("UPDATE orders SET id = id + 10 WHERE id < :most", {"most": 3})).rowcount == 3
            assert (await tx.execute("DELETE FROM orders WHERE id = 77")).rowcount == 0
            rows = await tx.execute(
                "SELECT id, id + 1 AS next FROM orders WHERE id < :a OR id > :a ORDER BY id", {"a": 4}
            )
            assert [(row.id, row.next) for row in rows.all()] == [(3, 4), (10, 11), (11, 12), (12, 13)]
            assert (await tx.execute("SELECT id FROM orders ORDER BY id")).all()[:2] == [(3,), (4,)]
            assert (await tx.execute("SELECT id FROM orders WHERE id = 77")).first() is None
            assert (await tx.execute("SELECT count(*) FROM orders")).scalar_one() == 5
            assert (await tx.execute("INSERT INTO events VALUES (1) RETURNING id")).scalar_one() == 1
            for bad in ("SELECT id FROM orders", "SELECT id FROM orders WHERE id = 77"):
                with pytest.raises(Exception, match=r"(?i)row"):
                    (await tx.execute(bad)).scalar_one()

    async def test_no_rows_are_no_work(self, db: StoreDatabase) -> None:
        """A list of parameters may be written for a batch that happens to have one row."""
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (:id)", [{"id": 1}])
        assert await _ids(db) == [1]

    async def test_the_dialect_says_whose_sql_is_meant(self, db: StoreDatabase, store_site: StoreSite) -> None:
        """What differs between databases is chosen by the transaction's dialect, readers' too."""
        async with db.transaction() as tx, db.read() as reader:
            assert tx.dialect == reader.dialect == store_site.dialect
