"""The framework's tables in a history of Alembic's: the real one, on both databases and their drivers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, create_mock_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from carrick import outbox, store
from carrick.errors import ConfigurationError
from carrick.store import Migrations
from carrick.store.alembic import apply, include_name
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from tests.unit.outbox.places import alchemy

ENV = """
import asyncio

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from carrick.store.alembic import include_name

url = context.config.get_main_option("sqlalchemy.url").replace("%%", "%")


def run(connection):
    context.configure(connection=connection, include_name=include_name)
    with context.begin_transaction():
        context.run_migrations()


async def run_async():
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


if "aiosqlite" in url or "asyncpg" in url:
    asyncio.run(run_async())
else:
    engine = create_engine(url)
    with engine.connect() as connection:
        run(connection)
    engine.dispose()
"""
REVISION = """
revision = "one"
down_revision = None

from alembic import op

from carrick import outbox, store
from carrick.store.alembic import apply


def upgrade():
    op.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
    apply(op.get_bind(), store.MIGRATIONS, outbox.MIGRATIONS)
"""
AGAIN = REVISION.replace('revision = "one"', 'revision = "two"', 1).replace(
    "down_revision = None", 'down_revision = "one"'
)
AGAIN = AGAIN.replace("CREATE TABLE orders", "CREATE TABLE items")


@pytest.fixture(params=["pysqlite", "aiosqlite", "psycopg", "asyncpg"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where the database is, as SQLAlchemy takes it."""
    sqlite = "sqlite" in request.param
    return alchemy(str(tmp_path / "a.db") if sqlite else request.getfixturevalue("postgres_url"), request.param)


@pytest.fixture
def config(url: str, tmp_path: Path) -> Config:
    """Return a history of one revision with the framework's tables, and one that has them again."""
    (tmp_path / "history" / "versions").mkdir(parents=True)
    (tmp_path / "history" / "env.py").write_text(ENV)
    (tmp_path / "history" / "script.py.mako").touch()
    (tmp_path / "history" / "versions" / "one.py").write_text(REVISION)
    (tmp_path / "history" / "versions" / "two.py").write_text(AGAIN)
    config = Config()
    config.set_main_option("script_location", str(tmp_path / "history"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def _database(url: str) -> Any:
    migrations = [store.MIGRATIONS, outbox.MIGRATIONS]
    if url.startswith("sqlite"):
        return SqliteDatabase(url.partition(":///")[2], migrations=migrations)
    return PostgresDatabase("postgresql://" + url.partition("://")[2], migrations=migrations)


def _plain(url: str) -> str:
    return url.replace("aiosqlite", "pysqlite").replace("asyncpg", "psycopg")


def test_a_revision_makes_the_tables(config: Config, url: str) -> None:
    """Once, however often a revision asks for them; the versions are recorded, as by the databases themselves."""
    command.upgrade(config, "one")
    command.upgrade(config, "two")
    engine = create_engine(_plain(url))
    with engine.begin() as connection:
        found = connection.execute(text("SELECT component, version FROM carrick_schema")).all()
        expected = [
            (each.component, migration.version)
            for each in (store.MIGRATIONS, outbox.MIGRATIONS)
            for migration in each.load(connection.dialect.name)
        ]
        assert sorted(tuple(row) for row in found) == sorted(expected)
        assert connection.execute(text("SELECT count(*) FROM carrick_outbox_lease")).scalar_one() == 16
        assert apply(connection, store.MIGRATIONS, outbox.MIGRATIONS) == ()
        context = MigrationContext.configure(connection, opts={"include_name": include_name})
        proposed = compare_metadata(context, MetaData())
        assert sorted(str(each[1].name) for each in proposed if each[0] == "remove_table") == ["items", "orders"]
    engine.dispose()


async def test_a_database_opened_afterwards_finds_nothing_due(config: Config, url: str) -> None:
    """Both ways of migrating know of each other."""
    engine = create_async_engine(url) if "aio" in url or "asyncpg" in url else None
    if engine is None:
        plain = create_engine(url)
        with plain.begin() as connection:
            apply(connection, store.MIGRATIONS, outbox.MIGRATIONS)
        plain.dispose()
    else:
        async with engine.begin() as asynchronous:
            await asynchronous.run_sync(apply, store.MIGRATIONS, outbox.MIGRATIONS)
        await engine.dispose()
    async with _database(url) as database, database.transaction() as tx:
        assert (await tx.execute("SELECT count(*) FROM carrick_outbox")).scalar_one() == 0


@pytest.fixture
def plain_connection(url: str) -> Iterator[Any]:
    """Return a connection outside of a transaction."""
    engine = create_engine(_plain(url))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_a_file_that_fails_leaves_nothing(plain_connection: Any, tmp_path: Path) -> None:
    """It is undone with its transaction, tables included, in SQLite too; signs in it are no parameters."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "0001_a.sql").write_text("CREATE TABLE a (n TEXT); INSERT INTO a VALUES ('100 % :x %s');\n")
    (folder / "0002_b.sql").write_text("CREATE TABLE b (n TEXT); SELECT missing FROM a;\n")
    with pytest.raises(Exception, match="missing"):
        apply(plain_connection, Migrations("own", folder))
    plain_connection.rollback()
    (folder / "0002_b.sql").write_text("CREATE TABLE b (n TEXT);\n")
    assert [each.version for each in apply(plain_connection, Migrations("own", folder))] == [1, 2]
    assert plain_connection.execute(text("SELECT n FROM a")).scalar_one() == "100 % :x %s"
    plain_connection.commit()


def test_without_a_connection_the_reason_is_said() -> None:
    """Alembic's offline mode has none; other databases have no files."""
    nothing: Any = None
    with pytest.raises(ConfigurationError, match=r"not on a NoneType; Alembic has none in offline mode \(--sql\)"):
        apply(nothing, store.MIGRATIONS)
    with pytest.raises(ConfigurationError, match="not on a MockConnection"):
        apply(create_mock_engine("postgresql://", lambda *_: None), store.MIGRATIONS)  # type: ignore[arg-type]
