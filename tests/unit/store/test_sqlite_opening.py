"""Opening a SQLite database: it waits for the file, says so, and brings the schema up to date."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from carrick.errors import ConfigurationError, StoreError
from carrick.store import Migrations
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import FakeClock
from tests.unit.testing.programs import until, until_closed


def _migrations(folder: Path, **files: str) -> Migrations:
    folder.mkdir(exist_ok=True)
    for name, sql in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(sql)
    return Migrations("shop", folder)


def _tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {name for name in found if not name.startswith("sqlite_")}


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """End each test with every connection closed, those that could not be opened included."""
    yield
    await until_closed()


async def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    """A file that was edited after it was applied stops the start and names itself; no connection stays open."""
    path = tmp_path / "shop.db"
    async with SqliteDatabase(path, migrations=[_migrations(tmp_path / "sql", m0001_a="CREATE TABLE a (id);")]):
        pass
    changed = _migrations(tmp_path / "sql", m0001_a="CREATE TABLE a (id, more);")
    with pytest.raises(ConfigurationError, match="shop: migration 0001_a was changed"):
        async with SqliteDatabase(path, migrations=[changed]):
            pytest.fail("opened")
    await until_closed()


async def test_a_failing_migration_leaves_nothing(tmp_path: Path) -> None:
    """Files due together are applied together: a mistake in the second undoes the first; no connection stays open."""
    path = tmp_path / "shop.db"
    bad = _migrations(
        tmp_path / "sql",
        m0001_a="CREATE TABLE a (id);",
        m0002_b="CREATE TABLE b (id); INSERT INTO missing VALUES (1);",
    )
    with pytest.raises(OperationalError, match="no such table: missing"):
        async with SqliteDatabase(path, migrations=[bad]):
            pytest.fail("opened")
    await until_closed()
    assert _tables(path) == {"carrick_schema"}
    good = _migrations(tmp_path / "sql", m0002_b="CREATE TABLE b (id);")
    async with SqliteDatabase(path, migrations=[good]):
        assert _tables(path) == {"carrick_schema", "a", "b"}


async def test_a_file_of_comments_and_triggers_is_applied(tmp_path: Path) -> None:
    """What ``statements`` splits is what SQLite runs: triggers, strings and comments with semicolons."""
    path = tmp_path / "shop.db"
    sql = """
-- a comment; with a semicolon
CREATE TABLE a (id INTEGER, note TEXT DEFAULT 'x; y'); /* another; one */
CREATE TRIGGER more AFTER INSERT ON a WHEN new.id < 3 BEGIN
    INSERT INTO a (id) VALUES (new.id + 1); -- inside;
    UPDATE a SET note = CASE WHEN note = ';' THEN 'END;' ELSE 'it''s; fine' END;
END;;
INSERT INTO a (id) VALUES (1);
/* the end; */ -- really
"""
    async with SqliteDatabase(path, migrations=[_migrations(tmp_path / "sql", m0001_a=sql)]) as db, db.read() as tx:
        assert {row.note for row in (await tx.execute("SELECT note FROM a")).all()} <= {"it's; fine", "x; y"}
        assert len((await tx.execute("SELECT id FROM a")).all()) == 2


async def test_a_missing_folder_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the file can't be opened, opening logs what it waits for; it goes on as soon as it can."""
    path = tmp_path / "later" / "shop.db"
    db = SqliteDatabase(path)
    opening = asyncio.create_task(db.open())
    await until(lambda: "waiting for" in caplog.text)
    assert f"waiting for {path}, 30 s at most" in caplog.text
    path.parent.mkdir()
    await opening
    assert _tables(path) == {"carrick_schema"}
    await db.close()


async def test_waiting_for_a_missing_folder_ends(tmp_path: Path) -> None:
    """After the start-up time opening fails and says what was missing for how long; no connection stays open."""
    clock = FakeClock(autojump=True)
    db = SqliteDatabase(tmp_path / "never" / "shop.db", startup_timeout=12.0, clock=clock)
    with pytest.raises(StoreError, match=r"never/shop\.db was not available for 12 s: .*unable to open"):
        await db.open()
    assert sum(clock.slept) == pytest.approx(12.0)
    await until_closed()


async def test_a_locked_database_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Opening waits for whoever holds the file, and goes on when it is let go."""
    path = tmp_path / "shop.db"
    db = SqliteDatabase(path, busy_timeout=0.02)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(db.open())
        await until(lambda: "waiting for" in caplog.text)
        other.execute("ROLLBACK")
        await opening
    assert _tables(path) == {"carrick_schema"}
    await db.close()


async def test_waiting_for_a_locked_database_ends(tmp_path: Path) -> None:
    """A file that stays locked fails the start with a ``StoreError``; no connection stays open."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        db = SqliteDatabase(path, busy_timeout=0.02, clock=FakeClock(autojump=True))
        with pytest.raises(StoreError, match=r"was not available for 30 s: database is locked \(SQLITE_BUSY"):
            await db.open()
        await until_closed()


async def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    """A foreign file is neither overwritten nor a riddle; no connection stays open."""
    path = tmp_path / "shop.db"
    path.write_bytes(b"these are not the bytes of a database" * 100)
    db = SqliteDatabase(path, startup_timeout=1.0, clock=FakeClock(autojump=True))
    with pytest.raises(StoreError, match="SQLITE_NOTADB"):
        await db.open()
    await until_closed()
    assert path.read_bytes().startswith(b"these are not")


async def test_cancelling_the_wait_leaves_no_connection(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stop during the start-up wait ends it at once; no connection stays open."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        db = SqliteDatabase(path, busy_timeout=0.02)
        opening = asyncio.create_task(db.open())
        await until(lambda: "waiting for" in caplog.text)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until_closed()


@pytest.mark.parametrize("name", ["a b.db", "what?.db", "50%20.db", "a#b.db", "ü.db"])
async def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    """The path is a path, not a piece of a URL."""
    async with SqliteDatabase(tmp_path / name):
        assert (tmp_path / name).exists()


async def test_the_wait_is_logged_as_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each look at a database that is away leaves one warning, with growing pauses of at most two seconds."""
    clock = FakeClock(autojump=True)
    db = SqliteDatabase(tmp_path / "never" / "shop.db", startup_timeout=10.0, clock=clock)
    with pytest.raises(StoreError):
        await db.open()
    assert {(record.name, record.levelno) for record in caplog.records} == {("carrick.store", logging.WARNING)}
    assert clock.slept[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert max(clock.slept) == 2.0
