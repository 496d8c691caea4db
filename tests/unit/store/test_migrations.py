"""Migrations: which files there are, which are due, and how a file falls into statements."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick import outbox, store
from carrick.errors import ConfigurationError
from carrick.store import Migrations, Sql
from carrick.store.migrations import Migration, due, statements
from tests.unit.store.places import AnyDatabase

_COLUMNS = {
    "carrick_idempotency": {
        "method",
        "key",
        "fingerprint",
        "token",
        "lease",
        "lease_until",
        "reply",
        "error",
        "expires_at",
    },
    "carrick_inbox": {"consumer", "event_id", "handled_at"},
    "carrick_partition": {"consumer", "stream", "partition", "epoch", "settled_to", "made_at"},
    "carrick_parked": {
        "consumer",
        "stream",
        "partition",
        "key",
        "sequence",
        "event_id",
        "subject",
        "headers",
        "data",
        "stored_at",
        "attempts",
        "failures",
        "due_at",
        "held_at",
        "reason",
    },
}
_COLUMNS_OF = Sql(
    sqlite="SELECT name FROM pragma_table_info(:name)",
    postgresql="SELECT column_name AS name FROM information_schema.columns WHERE table_name = :name",
)


def _migration(version: int, sql: str = "SELECT 1;") -> Migration:
    return Migration("shop", version, "step", sql)


def test_files_are_loaded_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """The number in the name decides, and only ``.sql`` files count."""
    for name in ("0002_b.sql", "0001_a.sql", "0003_c_2.sql", "README.md"):
        (tmp_path / name).write_text("SELECT 1;")
    loaded = Migrations("shop", tmp_path).load("sqlite")
    assert [(each.component, each.version, each.name) for each in loaded] == [
        ("shop", 1, "a"),
        ("shop", 2, "b"),
        ("shop", 3, "c_2"),
    ]


def test_the_folder_of_the_dialect_comes_first(tmp_path: Path) -> None:
    """Where there is a folder for the database in use, its files are taken."""
    (tmp_path / "sqlite").mkdir()
    (tmp_path / "0001_general.sql").write_text("SELECT 1;")
    (tmp_path / "sqlite" / "0001_special.sql").write_text("SELECT 1;")
    migrations = Migrations("shop", tmp_path)
    assert [each.name for each in migrations.load("sqlite")] == ["special"]
    assert [each.name for each in migrations.load("postgresql")] == ["general"]


def test_a_gap_in_the_numbers_is_refused(tmp_path: Path) -> None:
    """A missing number is a file that was forgotten."""
    for name in ("0001_a.sql", "0003_c.sql"):
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(ConfigurationError, match=r"migration 0003 in .* should be 0002; number the files"):
        Migrations("shop", tmp_path).load("sqlite")


def test_a_number_given_twice_is_refused(tmp_path: Path) -> None:
    """Two branches that both added a number must be put in order by a person."""
    for name in ("0001_a.sql", "0001_b.sql"):
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(ConfigurationError, match=r"migration 0001 in .* should be 0002"):
        Migrations("shop", tmp_path).load("sqlite")


@pytest.mark.parametrize("name", ["1_a.sql", "0001-a.sql", "0001_A.sql", "first.sql", "0001_a.b.sql"])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    """A file that would silently not be applied is refused instead, with an example of a good name."""
    (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(ConfigurationError, match="name a migration like 0001_create_orders"):
        Migrations("shop", tmp_path).load("sqlite")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A mistyped folder is not taken for an empty one."""
    with pytest.raises(ConfigurationError, match="shop: no folder of migrations at"):
        Migrations("shop", tmp_path / "missing").load("sqlite")


def test_files_for_other_databases_only_are_refused(tmp_path: Path) -> None:
    """A component that was never written for the database in use is not taken for one without tables."""
    (tmp_path / "sqlite").mkdir()
    (tmp_path / "sqlite" / "0001_a.sql").write_text("SELECT 1;")
    with pytest.raises(ConfigurationError, match=r"shop has no migrations for postgresql: put them into .*/postgresql"):
        Migrations("shop", tmp_path).load("postgresql")


def test_due_is_what_is_known_and_not_applied() -> None:
    """Applied files are left out, the rest keeps its order."""
    known = [_migration(1), _migration(2), _migration(3)]
    assert due(known, {}) == tuple(known)
    assert due(known, {1: known[0].checksum, 2: known[1].checksum}) == (known[2],)
    assert due(known, {each.version: each.checksum for each in known}) == ()


def test_due_leaves_a_newer_schema_alone() -> None:
    """Versions that only the database knows belong to newer code."""
    assert due([_migration(1)], {1: _migration(1).checksum, 2: "of newer code"}) == ()


def test_due_refuses_a_changed_file() -> None:
    """One character is enough, in any applied file."""
    with pytest.raises(ConfigurationError, match="0001_step was changed after it was applied; put the change into"):
        due([_migration(1, "SELECT 2;"), _migration(2)], {1: _migration(1).checksum})


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        ("  \n-- nothing; at all\n", []),
        ("SELECT 1; SELECT 2;", ["SELECT 1;", "SELECT 2;"]),
        ("SELECT 1;\nSELECT 2", ["SELECT 1;", "SELECT 2"]),
        ("SELECT 'a;b';SELECT \"c;d\";SELECT [e;f];", ["SELECT 'a;b';", 'SELECT "c;d";', "SELECT [e;f];"]),
        ("SELECT 'it''s; so';", ["SELECT 'it''s; so';"]),
        ("-- a; b\nSELECT 1;", ["-- a; b\nSELECT 1;"]),
        ("/* a; b */ SELECT 1; -- c;", ["/* a; b */ SELECT 1;"]),
        (
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END; SELECT 3;",
            ["CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;", "SELECT 3;"],
        ),
    ],
)
def test_statements_end_where_sqlite_ends_them(sql: str, expected: list[str]) -> None:
    """A semicolon in a string, a name, a comment or a trigger ends nothing."""
    assert list(statements(sql)) == expected


_PIECES = ("INSERT INTO a VALUES ('x; -- y');", "INSERT INTO a VALUES (1) -- one; more\n;", "/* ; */", "-- ;\n", " \n")


@given(st.lists(st.sampled_from(_PIECES), max_size=8))
def test_statements_lose_nothing(pieces: list[str]) -> None:
    """Split files do what the whole file does."""
    sql = "".join(pieces)
    with closing(sqlite3.connect(":memory:")) as whole, closing(sqlite3.connect(":memory:")) as split:
        for connection in (whole, split):
            connection.execute("CREATE TABLE a (v)")
        whole.executescript(sql)
        for statement in statements(sql):
            split.execute(statement)
        assert whole.execute("SELECT v FROM a").fetchall() == split.execute("SELECT v FROM a").fetchall()


@pytest.mark.parametrize("migrations", [store.MIGRATIONS, outbox.MIGRATIONS], ids=lambda each: each.component)
def test_the_frameworks_own_migrations_load(migrations: Migrations) -> None:
    """The wheel brings the tables of inbox, idempotency records and outbox."""
    assert migrations.load("sqlite")


async def test_the_stores_tables_are_the_same_everywhere(database: AnyDatabase) -> None:
    """The same columns in all databases, so that one statement does for both."""
    async with database.read() as tx:
        for table, columns in _COLUMNS.items():
            rows = await tx.execute(_COLUMNS_OF.of(tx.dialect), {"name": table})
            assert {row.name for row in rows.all()} == columns
