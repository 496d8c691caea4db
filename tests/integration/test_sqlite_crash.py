"""A process that is killed while it writes: what it acknowledged is there, and nothing is there by halves.

The killed process is this file, run as a program.
"""

import asyncio
import itertools
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from carrick.store import SyncTransaction
from carrick.store.sqlite import GroupOptions, SqliteDatabase
from tests.unit.testing.programs import program

ME = "tests.integration.test_sqlite_crash"
CALLERS = 64
DIES = 1_000_000
"""The work with this number kills its process after it has written."""


def _write(number: int, tx: SyncTransaction) -> None:
    tx.execute("INSERT INTO orders VALUES (:id)", {"id": number})
    if number == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    tx.execute("INSERT INTO events VALUES (:id)", {"id": number})


async def _acknowledge(database: SqliteDatabase, number: int) -> None:
    await database.run(lambda tx: _write(number, tx))
    os.write(1, f"{number}\n".encode())


async def _writers(path: Path, dies_after: int) -> None:
    """Write from many callers; each says what was committed for it."""
    async with SqliteDatabase(path, groups=GroupOptions(time=60.0)) as database:  # nothing splits the last group
        numbers = itertools.count(1)

        async def caller() -> None:
            for number in numbers:
                await _acknowledge(database, number)
                if number == dies_after:
                    group = [*range(DIES - 20, DIES + 20)]
                    await asyncio.gather(*(_acknowledge(database, each) for each in group))

        await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _ids(path: Path, table: str) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY id")]


async def _created(path: Path) -> None:
    async with SqliteDatabase(path) as database, database.transaction() as tx:
        for table in ("orders", "events"):
            await tx.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")


def _compare(path: Path, acknowledged: set[int]) -> None:
    orders = _ids(path, "orders")
    assert orders == _ids(path, "events")
    assert acknowledged <= set(orders), sorted(acknowledged - set(orders))


async def test_a_process_killed_while_many_write_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Five times at whatever moment the signal strikes: half-done groups are gone, acknowledged ones are there."""
    for number in range(5):
        path = tmp_path / f"shop{number}.db"
        await _created(path)
        with program("-m", ME, str(path), "0") as writers:
            assert writers.stdout is not None
            read = [writers.stdout.readline() for _ in range(300 + 111 * number)]
            writers.kill()
            rest = writers.stdout.readlines()
        _compare(path, {int(line) for line in (*read, *rest) if line.endswith("\n")})


async def test_a_process_that_dies_in_the_middle_of_a_group_leaves_nothing_of_it(tmp_path: Path) -> None:
    """The works before it in its group had written all they had to, and were neither committed nor acknowledged."""
    path = tmp_path / "shop.db"
    await _created(path)
    with program("-m", ME, str(path), "500") as writers:
        out, err = await asyncio.to_thread(writers.communicate, timeout=60)
        assert writers.returncode == -signal.SIGKILL, err
    acknowledged = {int(line) for line in out.split()}
    _compare(path, acknowledged)
    assert 500 in acknowledged
    assert not any(number >= DIES for number in _ids(path, "orders"))


if __name__ == "__main__":
    asyncio.run(_writers(Path(sys.argv[1]), int(sys.argv[2])))
