"""Opening a PostgreSQL database: it waits for the server, says so, and brings the schema up to date."""

import asyncio
import logging
from pathlib import Path

import pytest

from carrick import store
from carrick.errors import ConfigurationError, StoreError
from carrick.store import Migrations
from carrick.store.postgres import PostgresDatabase
from carrick.testing import FakeClock, PostgresServer
from tests.unit.testing.programs import until

FUNCTION = """
-- a comment; with a semicolon
CREATE TABLE a (id INTEGER, note TEXT DEFAULT 'x; y'); /* another; /* nested; */ one */
CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF new.id < 3 THEN
        EXECUTE $$ INSERT INTO a (id) VALUES ($1 + 1); $$ USING new.id; -- inside;
    END IF;
    UPDATE a SET note = E'it\\'s; fine' WHERE id = new.id;
    RETURN NULL;
END;
$body$;
CREATE TRIGGER more AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION more();
CREATE FUNCTION two() RETURNS INTEGER BEGIN ATOMIC SELECT 1; SELECT 2; END;
INSERT INTO a (id) VALUES (1);
/* the end; */ -- really
"""


def _migrations(folder: Path, **files: str) -> Migrations:
    folder.mkdir(exist_ok=True)
    for name, sql in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(sql)
    return Migrations("shop", folder)


async def _column(db: PostgresDatabase, sql: str) -> list[object]:
    async with db.read() as tx:
        return [row[0] for row in (await tx.execute(sql)).all()]


async def _tables(url: str, schema: str = "public") -> set[object]:
    async with PostgresDatabase(url) as db, db.read() as tx:
        rows = await tx.execute("SELECT tablename AS t FROM pg_tables WHERE schemaname = :schema", {"schema": schema})
        return {row.t for row in rows.all()}


async def test_a_file_of_functions_and_comments_is_applied(tmp_path: Path, postgres_url: str) -> None:
    """Statements end where PostgreSQL ends them: strings between dollars, bodies, nested comments."""
    async with PostgresDatabase(postgres_url, migrations=[_migrations(tmp_path / "sql", m0001_a=FUNCTION)]) as db:
        assert await _column(db, "SELECT note FROM a ORDER BY id") == ["it's; fine"] * 3
        assert await _column(db, "SELECT two()") == [2]


async def test_a_file_must_not_end_its_transaction(tmp_path: Path, postgres_url: str) -> None:
    """A COMMIT in a file would let go of the lock that keeps others from migrating too."""
    bad = _migrations(tmp_path / "sql", m0001_a="CREATE TABLE a (id INTEGER); COMMIT;")
    with pytest.raises(ConfigurationError, match="must not end its transaction: leave out COMMIT"):
        async with PostgresDatabase(postgres_url, migrations=[bad]):
            pytest.fail("opened")


async def test_many_that_start_at_once_migrate_once(tmp_path: Path, postgres_url: str) -> None:
    """One migrates, the others wait for it and find nothing to do."""
    shop = _migrations(tmp_path / "sql", m0001_a="CREATE TABLE a (id INTEGER); SELECT pg_sleep(0.05);")

    async def start() -> None:
        async with PostgresDatabase(postgres_url, migrations=[store.MIGRATIONS, shop], schema="shop"):
            pass

    await asyncio.gather(*(start() for _ in range(10)))
    assert await _tables(postgres_url, "shop") == {
        "a",
        "carrick_schema",
        "carrick_idempotency",
        "carrick_inbox",
        "carrick_parked",
        "carrick_partition",
    }


async def test_a_long_migration_of_another_is_waited_for(
    tmp_path: Path, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits for it says so, and goes on when it has ended."""
    shop = _migrations(tmp_path / "sql", m0001_a="CREATE TABLE a (id INTEGER);")
    first = PostgresDatabase(postgres_url)
    async with first, first._migrating():
        second = PostgresDatabase(postgres_url, migrations=[shop], lock_timeout=0.05)
        opening = asyncio.create_task(second.open())
        await until(lambda: "lock timeout" in caplog.text)
    await opening
    await second.close()
    assert "a" in await _tables(postgres_url)


async def test_a_service_lives_in_a_schema_of_its_own(tmp_path: Path, postgres_url: str) -> None:
    """Two services in one database have the same tables, and see their own; any name will do."""
    shop = _migrations(tmp_path / "sql", m0001_a="CREATE TABLE a (id INTEGER);")
    for schema in ("orders", 'pay "ments"'):
        async with PostgresDatabase(postgres_url, migrations=[store.MIGRATIONS, shop], schema=schema) as db:
            assert await _column(db, "SELECT current_schema()") == [schema]
            assert await _column(db, "SELECT id FROM a") == []
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO a VALUES (1)")
    assert await _tables(postgres_url, "orders") == await _tables(postgres_url, 'pay "ments"')


async def test_a_schema_that_is_there_needs_no_right_to_make_one(postgres_url: str) -> None:
    """A role that may only use its schema can start."""
    role, host = postgres_url.rpartition("/")[2], postgres_url.rpartition("@")[2]
    async with PostgresDatabase(postgres_url) as owner:
        async with owner.transaction() as tx:
            await tx.script(f"CREATE ROLE {role} LOGIN PASSWORD 'p'; CREATE SCHEMA s AUTHORIZATION {role}")
        async with PostgresDatabase(f"postgresql://{role}:p@{host}", migrations=[store.MIGRATIONS], schema="s"):
            pass
        async with owner.transaction() as tx:
            await tx.script(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def test_a_server_that_is_away_is_waited_for(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """While nobody answers, opening logs what it waits for; it goes on as soon as it can."""
    url = postgres_server.create_database()
    postgres_server.stop()
    db = PostgresDatabase(url)
    opening = asyncio.create_task(db.open())
    await until(lambda: "waiting for" in caplog.text)
    await asyncio.to_thread(postgres_server.start)
    await opening
    assert await _column(db, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == ["carrick_schema"]
    await db.close()
    assert {(record.name, record.levelno) for record in caplog.records} == {("carrick.store", logging.WARNING)}


async def test_waiting_ends(postgres_server: PostgresServer) -> None:
    """After the start-up time opening fails and says what was missing for how long."""
    postgres_server.kill()
    clock = FakeClock(autojump=True)
    db = PostgresDatabase(postgres_server.url, startup_timeout=12.0, clock=clock)
    with pytest.raises(StoreError, match=r"/postgres was not available for 12 s: .*Connect call failed"):
        await db.open()
    assert sum(clock.slept) == pytest.approx(12.0)


async def test_a_frozen_server_is_waited_for(postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture) -> None:
    """Silence is no answer: it is noticed, and waited out."""
    postgres_server.freeze()
    db = PostgresDatabase(postgres_server.url, answer_timeout=0.1)
    opening = asyncio.create_task(db.open())
    await until(lambda: "no answer" in caplog.text)
    postgres_server.thaw()
    await opening
    await db.close()


async def test_cancelling_the_wait_leaves_nothing(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop during the start-up wait ends it at once."""
    url = postgres_server.url
    postgres_server.kill()
    db = PostgresDatabase(url)
    opening = asyncio.create_task(db.open())
    await until(lambda: "waiting for" in caplog.text)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    with pytest.raises(StoreError, match="is not open"):
        await _column(db, "SELECT 1")


async def test_a_database_that_is_missing_is_named(postgres_url: str) -> None:
    """A mistyped name is waited for like a server, since it may be made yet; the error has the server's words."""
    db = PostgresDatabase(f"{postgres_url}_not", startup_timeout=1.0, clock=FakeClock(autojump=True))
    with pytest.raises(StoreError, match=r'database "test_\w+_not" does not exist \(3D000\)'):
        await db.open()


async def test_closing_closes_every_connection(postgres_url: str) -> None:
    """The server has none left of it."""
    async with PostgresDatabase(postgres_url) as watching:
        count = "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
        before = await _column(watching, count)
        async with PostgresDatabase(postgres_url) as db, db.transaction(), db.read():
            pass
        await until(lambda: _same(watching, count, before))


async def _same(db: PostgresDatabase, sql: str, before: list[object]) -> bool:
    return await _column(db, sql) == before


async def test_closing_does_not_wait_without_end(postgres_server: PostgresServer) -> None:
    """A frozen server, or a transaction that does not end, is left."""
    db = PostgresDatabase(postgres_server.url, answer_timeout=0.2)
    await db.open()
    postgres_server.freeze()
    async with asyncio.timeout(20):
        await db.close()


async def test_no_password_is_told(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in errors nor in logs nor when a database is shown."""
    right = postgres_url.partition("carrick:")[2].partition("@")[0]
    db = PostgresDatabase(postgres_url.replace(right, "sesame"), startup_timeout=1.0, clock=FakeClock(autojump=True))
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        await db.open()
    shown = f"{db!r} {db} {caught.value} {caught.value!r} {caplog.text}"
    assert "waiting for" in shown
    assert "sesame" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:ses/ame@host/shop",
        "postgresql://user:ses#ame@host/shop",
        "postgresql://user:ses?ame@host/shop",
        "postgresql://user:sesame@host:port/shop",
        "postgresql://user:sesame@[::1/shop",
        "mysql://user:sesame@host/shop",
        "user:sesame@host/shop",
        "sesame",
        "",
    ],
)
def test_a_bad_url_is_refused_without_showing_it(url: str) -> None:
    """What can't be read may have its password anywhere."""
    with pytest.raises(ConfigurationError) as caught:
        PostgresDatabase(url)
    assert "ame" not in str(caught.value).replace("name", "")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:p@host/shop", "postgresql://host/shop"),
        ("postgres://host:5433/shop?sslmode=require&password=sesame", "postgresql://host:5433/shop"),
        ("postgresql://u:p%40@a:1,b:2/shop", "postgresql://a:1,b:2/shop"),
        ("postgresql://u:p@p@[::1]:5/shop", "postgresql://[::1]:5/shop"),
        ("postgresql:///shop", "postgresql:///shop"),
    ],
)
def test_a_database_is_called_by_host_and_name(url: str, name: str) -> None:
    """User, password and parameters are left out."""
    assert repr(PostgresDatabase(url)) == f"PostgresDatabase({name})"
