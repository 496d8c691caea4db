"""Executions that die or freeze between claim and commit: another takes over, and the effect is there once.

The executions are this file, run as a program.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from carrick import CarrickError, store
from carrick.claim import Claimed, ClaimOutcome, InFlight, Replay
from carrick.context import Call, Context, enter
from carrick.store import IdempotencyRecords
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import PLACE_ORDER
from shop.orders.v1.orders_pb2 import PlaceOrderResponse
from tests.unit.testing.programs import Program, program, until

ME = "tests.acceptance.test_idempotency_crash"
LEASE = 1.0
ROUNDS = 12


async def _execute(path: Path, key: str, name: str, *, wait: bool) -> None:
    """Handle one call: claim, wait to be told if so wanted, commit the effect with the reply."""
    async with SqliteDatabase(path) as database:
        outcome = await _claim(database, key)
        if not isinstance(outcome, Claimed):
            print(type(outcome).__name__, flush=True)
            return
        print("claimed", flush=True)
        if wait:
            await until((path.parent / f"go-{key}").exists, timeout=60)
        call = Call()
        call.claim = outcome.claim
        try:
            with enter(Context(PLACE_ORDER, call=call)):
                async with database.transaction() as tx:
                    await tx.execute("INSERT INTO effects VALUES (:key, :name)", {"key": key, "name": name})
                    print("committing", flush=True)
                    await tx.reply(PlaceOrderResponse(order_id=name))
        except CarrickError as error:
            print(error.code.name, flush=True)
        else:
            print("committed", flush=True)


async def _claim(database: SqliteDatabase, key: str) -> ClaimOutcome:
    return await IdempotencyRecords(database).claim(PLACE_ORDER, key, b"fingerprint", LEASE)


async def _line(process: Program) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await asyncio.to_thread(process.stdout.readline)).strip()


@pytest.fixture
async def books(tmp_path: Path) -> SqliteDatabase:
    """A database with a table of effects; processes open it for themselves."""
    database = SqliteDatabase(tmp_path / "books.db", migrations=[store.MIGRATIONS])
    async with database, database.transaction() as tx:
        await tx.execute("CREATE TABLE effects (key TEXT, name TEXT)")
    return database


async def _effects(database: SqliteDatabase) -> list[tuple[str, str]]:
    async with database.read() as tx:
        return [(row.key, row.name) for row in (await tx.execute("SELECT key, name FROM effects ORDER BY key")).all()]


async def _take_over(database: SqliteDatabase, key: str) -> None:
    """Ask until the key can be had, as a caller does who tries again, and execute the call here."""
    outcome = await _claim(database, key)
    while isinstance(outcome, InFlight):
        await asyncio.sleep(0.05)
        outcome = await _claim(database, key)
    if isinstance(outcome, Replay):
        return
    assert isinstance(outcome, Claimed)
    call = Call()
    call.claim = outcome.claim
    with enter(Context(PLACE_ORDER, call=call)):
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:key, 'second')", {"key": key})
            await tx.reply(PlaceOrderResponse(order_id="second"))


async def test_a_call_whose_process_was_killed_is_executed_once(books: SqliteDatabase) -> None:
    """Killed between claim and commit, the key is free after the lease; what was half done is not there."""
    with program("-m", ME, str(books.path), "k", "first", "wait") as first:
        assert await _line(first) == "claimed"
        async with books:
            assert isinstance(await _claim(books, "k"), InFlight)
            first.kill()
            await asyncio.to_thread(first.wait)
            await _take_over(books, "k")
            assert await _effects(books) == [("k", "second")]
            assert await _claim(books, "k") == Replay(PlaceOrderResponse(order_id="second").SerializeToString())


async def test_a_process_that_froze_comes_back_too_late(books: SqliteDatabase) -> None:
    """What was believed dead and goes on after another has taken over is undone by its token."""
    with program("-m", ME, str(books.path), "k", "first", "wait") as first:
        assert await _line(first) == "claimed"
        os.kill(first.pid, signal.SIGSTOP)
        async with books:
            await _take_over(books, "k")
            (books.path.parent / "go-k").touch()
            os.kill(first.pid, signal.SIGCONT)
            assert await _line(first) == "committing"
            assert await _line(first) == "ABORTED"
            assert await _effects(books) == [("k", "second")]


async def test_killed_at_any_moment(books: SqliteDatabase) -> None:
    """Wherever the kill strikes, each key has one effect in the end, and it is the one that is answered."""
    for number in range(ROUNDS):
        with program("-m", ME, str(books.path), f"k{number:02}", "first", "run") as first:
            assert await _line(first) == "claimed"
            await asyncio.sleep(0.0005 * number)
            first.kill()
            await asyncio.to_thread(first.wait)
        async with books:
            await _take_over(books, f"k{number:02}")
    async with books:
        effects = await _effects(books)
        assert [key for key, _ in effects] == [f"k{number:02}" for number in range(ROUNDS)]
        for key, name in effects:
            assert await _claim(books, key) == Replay(PlaceOrderResponse(order_id=name).SerializeToString())


if __name__ == "__main__":
    asyncio.run(_execute(Path(sys.argv[1]), sys.argv[2], sys.argv[3], wait=sys.argv[4] == "wait"))
