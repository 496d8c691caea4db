"""Transactions a second on SQLite, each a business row and an outbox row, synced to disk before anybody hears of it.

``sqlite3`` alone in one thread, one commit a transaction, is what the others are compared with; the cases take turns,
each on a new file, and each round gives a ratio. ``python -m tests.bench.sqlite_transactions`` runs it by itself.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console

from carrick.store import SyncTransaction, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.store.sqlite_connection import connect
from tests.bench.report import row, show, write

__all__ = ["RATIOS", "measure"]

Case: TypeAlias = Callable[[Path, float], Awaitable[float]]

PLAIN = "sqlite3"
MANY = 64
WARM_UP = 50
_SCRATCH = Path("bench-results")
"""On a disk, which the system's folder for temporary files need not be."""
_TABLES = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total INTEGER NOT NULL)",
    "CREATE TABLE outbox (id TEXT PRIMARY KEY, subject TEXT NOT NULL, payload BLOB NOT NULL, created_at REAL)",
)
_ORDER = "INSERT INTO orders (customer, total) VALUES (:customer, :total)"
_EVENT = (
    "INSERT INTO outbox (id, subject, payload, created_at) "
    "VALUES (hex(randomblob(16)), :subject, :payload, julianday('now'))"
)
_ORDER_ROW: Mapping[str, Any] = {"customer": "c-1", "total": 1200}
_EVENT_ROW: Mapping[str, Any] = {"subject": "orders.placed.v1.p07", "payload": b"x" * 200}


def _order(tx: SyncTransaction) -> None:
    tx.execute(_ORDER, _ORDER_ROW)
    tx.execute(_EVENT, _EVENT_ROW)


async def _run(database: SqliteDatabase) -> None:
    await database.run(_order)


async def _transaction(database: SqliteDatabase) -> None:
    async with database.transaction() as tx:
        await _statements(tx)


async def _statements(tx: Transaction) -> None:
    await tx.execute(_ORDER, _ORDER_ROW)
    await tx.execute(_EVENT, _EVENT_ROW)


async def _plain(path: Path, seconds: float) -> float:
    """Return the transactions a second of one thread that does nothing else."""
    connection = connect(path, 5.0)
    try:
        for statement in _TABLES:
            connection.execute(statement)
        done = -WARM_UP
        while True:
            if not done:
                started = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_ORDER, _ORDER_ROW)
            connection.execute(_EVENT, _EVENT_ROW)
            connection.execute("COMMIT")
            done += 1
            if done > 0 and time.perf_counter() - started > seconds:
                return done / (time.perf_counter() - started)
    finally:
        connection.close()


def _concurrent(callers: int, one: Callable[[SqliteDatabase], Awaitable[None]]) -> Case:
    """Return a case in which callers each begin their next transaction when the last one is committed."""

    async def case(path: Path, seconds: float) -> float:
        async with SqliteDatabase(path) as database:
            async with database.transaction() as tx:
                for statement in _TABLES:
                    await tx.execute(statement)
            await asyncio.gather(*(one(database) for _ in range(WARM_UP)))
            done = 0
            started = time.perf_counter()

            async def caller() -> None:
                nonlocal done
                while time.perf_counter() - started < seconds:
                    await one(database)
                    done += 1

            await asyncio.gather(*(caller() for _ in range(callers)))
            rate = done / (time.perf_counter() - started)
            async with database.read() as reader:
                for table in ("orders", "outbox"):
                    count = (await reader.execute(f"SELECT count(*) FROM {table}")).scalar_one()
                    assert count == WARM_UP + done, f"{count} rows in {table}, {WARM_UP + done} acknowledged"
            return rate

    return case


CASES: Mapping[str, Case] = {
    PLAIN: _plain,
    "run_1": _concurrent(1, _run),
    f"run_{MANY}": _concurrent(MANY, _run),
    f"transaction_{MANY}": _concurrent(MANY, _transaction),
}
RATIOS = {
    "sqlite_run_1_vs_sqlite3": ("run_1", PLAIN),
    f"sqlite_run_{MANY}_vs_sqlite3": (f"run_{MANY}", PLAIN),
    f"sqlite_run_{MANY}_vs_transaction_{MANY}": (f"run_{MANY}", f"transaction_{MANY}"),
}


async def measure(rounds: int, seconds: float) -> tuple[list[dict[str, object]], dict[str, float]]:
    """Run each case ``rounds`` times, alternately, for ``seconds`` each; return rows and ratios for a report."""
    samples: dict[str, list[float]] = {case: [] for case in CASES}
    _SCRATCH.mkdir(exist_ok=True)  # noqa: ASYNC240  # nothing runs yet
    for number in range(rounds):
        for case in CASES if number % 2 else reversed(list(CASES)):
            with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
                samples[case].append(await CASES[case](Path(folder) / "bench.db", seconds))
    rows = [
        row(case if case == PLAIN else f"sqlite_{case}", "transactions", "1/s", values)
        for case, values in samples.items()
    ]
    ratios = {
        name: round(statistics.median(a / b for a, b in zip(samples[one], samples[other], strict=True)), 3)
        for name, (one, other) in RATIOS.items()
    }
    return rows, ratios


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each case.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a run.")] = 3.0,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: 1 round of half a second.")] = False,
) -> None:
    """Compare transactions on SQLite with those of sqlite3 alone."""
    rows, ratios = asyncio.run(measure(1, 0.5) if quick else measure(rounds, seconds))
    show(Console(), rows, ratios)
    write("sqlite_transactions", rows, ratios)


if __name__ == "__main__":
    typer.run(main)
