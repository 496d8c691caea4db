"""Databases by their URLs."""

import sys
from pathlib import Path

import pytest

from carrick.errors import ConfigurationError
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.store.urls import database_at


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:orders.db", "orders.db"),
        ("sqlite:/var/lib/orders.db", "/var/lib/orders.db"),
        ("sqlite:///orders.db", "orders.db"),
        ("sqlite:////var/lib/orders.db", "/var/lib/orders.db"),
        ("orders.db", "orders.db"),
        ("/var/lib/orders.db", "/var/lib/orders.db"),
        ("sqlite:./a folder/orders.db", "a folder/orders.db"),
    ],
)
def test_a_file_of_sqlite(url: str, path: str) -> None:
    """As a plain path, or with SQLAlchemy's three slashes."""
    database = database_at(url)
    assert isinstance(database, SqliteDatabase)
    assert database.path == Path(path)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_postgresql_server(scheme: str) -> None:
    """Its password is not in what is shown of it."""
    database = database_at(f"{scheme}://me:secret@db:5432/orders?search_path=shop")
    assert isinstance(database, PostgresDatabase)
    assert "secret" not in repr(database) + database.name


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://me:secret@db/orders",
        "postgresql+asyncpg://me:secret@db/orders",
        "postgresql://me:sec@ret@db/or@ders",
        "sqlite:",
        "sqlite:///",
        "sqlite://host/orders.db",
        "sqlite:orders.db?mode=ro",
        "sqlite::memory:",
    ],
)
def test_anything_else_is_refused_without_being_shown(url: str) -> None:
    """There may be a password in it."""
    with pytest.raises(ConfigurationError) as raised:
        database_at(url)
    assert "sec" not in str(raised.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.delitem(sys.modules, "carrick.store.postgres")
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match=r'pip install "carrick\[postgres\]"'):
        database_at("postgresql://db/orders")


def test_what_only_postgresql_has_is_refused_or_of_no_effect() -> None:
    """A schema would be a promise that is not kept; SQLite has no level below serializable."""
    with pytest.raises(ConfigurationError, match="a schema is for PostgreSQL"):
        database_at("orders.db", schema="orders")
    assert isinstance(database_at("orders.db", isolation="serializable"), SqliteDatabase)


async def test_the_level_is_the_one_that_was_asked_for(postgres_url: str) -> None:
    """Read committed unless told."""
    for given, expected in (({}, "read committed"), ({"isolation": "serializable"}, "serializable")):
        async with database_at(postgres_url, **given) as database, database.transaction() as tx:  # type: ignore[arg-type]
            assert (await tx.execute("SHOW transaction_isolation")).scalar_one() == expected


def test_a_url_is_no_path_of_sqlite() -> None:
    """Where a setting that may be either is given to the class of one, its password is not shown."""
    with pytest.raises(ConfigurationError, match="database_at takes URLs") as raised:
        SqliteDatabase("postgresql://me:secret@db/orders")
    assert "secret" not in str(raised.value)
