"""What a plain function does with its transaction: rows, replies, refusals, receipts."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from carrick import store
from carrick.claim import Claim, Claimed, Receipt, Refusal, Replay
from carrick.context import Call, Context, enter
from carrick.errors import CarrickError, Code, ConfigurationError, DuplicateEventError
from carrick.store import IdempotencyRecords, SyncTransaction
from carrick.store._at_once import at_once
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import PLACE_ORDER
from shop.orders.v1.orders_pb2 import GetOrderResponse, PlaceOrderResponse

REFUSED = CarrickError(Code.FAILED_PRECONDITION, "sold out")


async def _count(database: SqliteDatabase) -> int:
    async with database.read() as tx:
        count: int = (await tx.execute("SELECT count(*) FROM effects")).scalar_one()
        return count


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """Return a new SQLite database with the store's tables."""
    async with SqliteDatabase(tmp_path / "test.db", migrations=[store.MIGRATIONS]) as opened:
        yield opened


@pytest.fixture
async def db(database: SqliteDatabase) -> SqliteDatabase:
    """A database that has a table of effects."""
    await database.run(lambda tx: tx.execute("CREATE TABLE effects (id INTEGER PRIMARY KEY, note TEXT)"))
    return database


async def _claim(database: SqliteDatabase) -> Claim:
    outcome = await IdempotencyRecords(database).claim(PLACE_ORDER, "k", b"f", 30.0)
    assert isinstance(outcome, Claimed)
    return outcome.claim


def _call(claim: Claim | None = None, receipt: Receipt | None = None) -> Context:
    call = Call()
    call.claim = claim
    call.receipt = receipt
    return Context(PLACE_ORDER if claim else None, call=call)


async def test_rows_have_columns_as_attributes(db: SqliteDatabase) -> None:
    """Rows are tuples with names; what is no row has none."""

    def work(tx: SyncTransaction) -> None:
        assert tx.execute("INSERT INTO effects (note) VALUES (:note)", [{"note": "a"}, {"note": "b"}]).rowcount == 2
        rows = tx.execute("SELECT id, note, id + 1 AS next, id AS next FROM effects ORDER BY id").all()
        assert rows == [(1, "a", 2, 1), (2, "b", 3, 2)]
        assert [(row.id, row.note, row.next) for row in rows] == [(1, "a", 2), (2, "b", 3)]
        first = tx.execute("SELECT count(*), note AS count FROM effects").first()
        assert first is not None
        assert first == (2, first.count)
        assert tx.execute("SELECT note FROM effects WHERE id = :id", {"id": 9}).first() is None
        assert tx.execute("UPDATE effects SET note = 'c'").rowcount == 2
        assert tx.execute("DELETE FROM effects WHERE id = 1 RETURNING note").all()[0].note == "c"
        assert tx.execute("INSERT INTO effects (note) VALUES ('d') RETURNING id").rowcount == 1
        assert tx.execute("DELETE FROM effects WHERE id = 77").rowcount == 0
        assert tx.execute("DELETE FROM effects").all() == []

    await db.run(work)


@pytest.mark.parametrize(("rows", "given"), [(0, "0"), (2, "2")])
async def test_one_value_is_of_one_row(db: SqliteDatabase, rows: int, given: str) -> None:
    """``scalar_one`` says how many rows there were, when not one."""

    def work(tx: SyncTransaction) -> None:
        tx.execute("INSERT INTO effects (note) VALUES (:note)", [{"note": "a"}] * rows)
        tx.execute("SELECT note FROM effects").scalar_one()

    with pytest.raises(LookupError, match=f"one row, and the statement gave {given}"):
        await db.run(work)
    assert await db.run(lambda tx: tx.execute("SELECT 5").scalar_one()) == 5


async def test_errors_of_a_statement_are_the_drivers(db: SqliteDatabase) -> None:
    """A broken constraint and a mistake in SQL are the user's own business."""
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        await db.run(lambda tx: tx.execute("INSERT INTO effects (id) VALUES (:id)", [{"id": 1}, {"id": 1}]))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await db.run(lambda tx: tx.execute("SELECT * FROM missing"))
    assert await _count(db) == 0


async def test_sqlalchemys_statements_are_for_the_other_way(db: SqliteDatabase) -> None:
    """The error says where they are taken."""
    with pytest.raises(TypeError, match=r"takes SQL as text, not a TextClause; SQLAlchemy's .* database\.transaction"):
        await db.run(lambda tx: tx.execute(text("SELECT 1")))  # type: ignore[arg-type]


async def test_a_reply_completes_the_record(db: SqliteDatabase) -> None:
    """The reply is committed with the effect, and given again."""
    claim = await _claim(db)

    def work(tx: SyncTransaction) -> PlaceOrderResponse:
        tx.execute("INSERT INTO effects (note) VALUES ('placed')")
        reply = tx.reply(PlaceOrderResponse(order_id="1"))
        assert not claim.fulfilled
        return reply

    with enter(_call(claim)):
        assert (await db.run(work)).order_id == "1"
    assert claim.fulfilled
    outcome = await IdempotencyRecords(db).claim(PLACE_ORDER, "k", b"f", 30.0)
    assert outcome == Replay(PlaceOrderResponse(order_id="1").SerializeToString())
    assert await _count(db) == 1


async def test_a_reply_under_a_lost_claim_undoes_the_work(db: SqliteDatabase) -> None:
    """Somebody else holds the key: the effect is not committed."""
    claim = await _claim(db)
    await db.run(lambda tx: tx.execute("UPDATE carrick_idempotency SET token = 'other'"))

    def work(tx: SyncTransaction) -> PlaceOrderResponse:
        tx.execute("INSERT INTO effects (note) VALUES ('placed')")
        return tx.reply(PlaceOrderResponse(order_id="1"))

    with enter(_call(claim)), pytest.raises(CarrickError, match="was taken over") as caught:
        await db.run(work)
    assert caught.value.code is Code.ABORTED
    assert (claim.fulfilled, await _count(db)) == (False, 0)


async def test_a_reply_of_another_type_is_refused(db: SqliteDatabase) -> None:
    """It would be read as something else when it is given again."""
    with enter(_call(await _claim(db))), pytest.raises(TypeError, match="replies with a PlaceOrderResponse"):
        await db.run(lambda tx: tx.reply(GetOrderResponse()))
    with enter(_call()):
        await db.run(lambda tx: tx.reply(GetOrderResponse()))  # no key, no record


async def test_a_refusal_completes_the_record(db: SqliteDatabase) -> None:
    """An error is committed in place of the reply, with what the refused call left."""
    claim = await _claim(db)

    def work(tx: SyncTransaction) -> None:
        tx.execute("INSERT INTO effects (note) VALUES ('tried')")
        tx.refuse(REFUSED)

    with enter(_call(claim)):
        await db.run(work)
    assert claim.refusal is REFUSED
    assert isinstance(await IdempotencyRecords(db).claim(PLACE_ORDER, "k", b"f", 30.0), Refusal)
    assert await _count(db) == 1
    with pytest.raises(TypeError, match="an error of the handler's own"):
        await db.run(lambda tx: tx.refuse(KeyError()))  # type: ignore[arg-type]


async def test_a_receipt_makes_an_effect_happen_once(db: SqliteDatabase) -> None:
    """Two deliveries at the same time, in one group: one has its effect, the other is told so."""

    def work(tx: SyncTransaction) -> None:
        tx.execute("INSERT INTO effects (note) VALUES ('handled')")
        tx.handled()

    receipts = [Receipt("c", "1"), Receipt("c", "1"), Receipt("c", "2")]

    async def deliver(receipt: Receipt) -> None:
        with enter(_call(receipt=receipt)):
            await db.run(work)

    results = await asyncio.gather(*map(deliver, receipts), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), DuplicateEventError, type(None)]
    assert [receipt.fulfilled for receipt in receipts] == [True, False, True]
    assert await _count(db) == 2
    with pytest.raises(ConfigurationError, match="for handlers of events"):
        await db.run(lambda tx: tx.handled())


def test_what_waits_can_not_be_run_at_once() -> None:
    """A coroutine that waits is closed, and its error is about that."""
    closed: list[bool] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="waits for something"):
        at_once(waits())
    assert closed == [True]
