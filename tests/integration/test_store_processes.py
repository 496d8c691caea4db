"""One database, several processes: they migrate it once, and sell each piece once.

The other processes are this file, run as a program.
"""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from carrick import store
from carrick.store import Migrations, Sql
from tests.unit.store.places import AnyDatabase, Place
from tests.unit.testing.programs import Program, program, until

ME = "tests.integration.test_store_processes"
BUYERS = 25


_STOCK = Sql.template("SELECT pieces FROM stock {lock}")


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Path of a file, or URL of a database."""
    return str(tmp_path / "shop.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def _database(where: str, *migrations: Migrations) -> AnyDatabase:
    return Place(where if where.startswith("postgresql:") else Path(where)).database(migrations=migrations)


async def _buy(database: AnyDatabase) -> int:
    async with database.transaction() as tx:
        row = (await tx.execute(_STOCK.of(tx.dialect))).first()
        assert row is not None
        if row.pieces == 0:
            return 0
        await asyncio.sleep(0.001)
        await tx.execute("UPDATE stock SET pieces = :left", {"left": row.pieces - 1})
        return 1


async def _buyers(where: str, go: Path) -> None:
    """Buy at the same time as the others, and tell how many pieces were had."""
    async with _database(where) as database:
        print("ready", flush=True)
        await until(go.exists)
        print(sum(await asyncio.gather(*(_buy(database) for _ in range(BUYERS)))), flush=True)


async def _open(where: str, go: Path, folder: Path) -> None:
    """Open at the same time as the others."""
    database = _database(where, store.MIGRATIONS, Migrations("shop", folder))
    print("ready", flush=True)
    await until(go.exists)
    async with database, database.read() as tx:
        print(len((await tx.execute("SELECT * FROM carrick_schema")).all()), flush=True)


async def _go(folder: Path, *processes: Program) -> None:
    """Let all begin once all are there."""
    for process in processes:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    (folder / "go").touch()


async def _output(process: Program) -> list[str]:
    """Wait for the end and return the lines."""
    async with asyncio.timeout(30):
        out, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, err
    return out.split()


async def test_buyers_in_two_processes_sell_exactly_the_stock(tmp_path: Path, where: str) -> None:
    """Fifty buyers in two processes take ten pieces, and none is refused for being at it at the same time."""
    async with _database(where) as database:
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE stock (pieces INTEGER)")
            await tx.execute("INSERT INTO stock VALUES (10)")
        with ExitStack() as programs:
            both = [programs.enter_context(program("-m", ME, "buyers", where, str(tmp_path / "go"))) for _ in range(2)]
            await _go(tmp_path, *both)
            sold = [int(line) for process in both for line in await _output(process)]
        assert sum(sold) == 10
        async with database.read() as tx:
            assert (await tx.execute("SELECT pieces FROM stock")).all() == [(0,)]


async def test_processes_that_start_together_migrate_once(tmp_path: Path, where: str) -> None:
    """Three that open a new database at the same moment all get the whole schema, applied once."""
    folder = tmp_path / "sql"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"{number:04d}_step.sql").write_text(
            f"CREATE TABLE t{number} (id INTEGER); INSERT INTO t{number} VALUES (1);"
        )
    with ExitStack() as programs:
        command = ("-m", ME, "open", where, str(tmp_path / "go"), str(folder))
        started = [programs.enter_context(program(*command)) for _ in range(3)]
        await _go(tmp_path, *started)
        ours = len(store.MIGRATIONS.load("sqlite" if where.endswith(".db") else "postgresql"))
        assert [await _output(process) for process in started] == [[str(ours + 5)]] * 3
    async with _database(where) as database, database.read() as tx:
        for number in range(1, 6):
            assert len((await tx.execute(f"SELECT * FROM t{number}")).all()) == 1


if __name__ == "__main__":
    if sys.argv[1] == "buyers":
        asyncio.run(_buyers(sys.argv[2], Path(sys.argv[3])))
    else:
        asyncio.run(_open(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
