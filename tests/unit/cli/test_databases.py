"""The URLs of databases that commands take."""

import sys
from pathlib import Path

import pytest

from carrick.cli.databases import database_from
from carrick.errors import ConfigurationError
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase


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
    database = database_from(url)
    assert isinstance(database, SqliteDatabase)
    assert database.path == Path(path)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_postgresql_server(scheme: str) -> None:
    """Its password is not in what is shown of it."""
    database = database_from(f"{scheme}://me:secret@db:5432/orders?search_path=shop")
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
        database_from(url)
    assert "sec" not in str(raised.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.delitem(sys.modules, "carrick.store.postgres")
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match=r'pip install "carrick\[postgres\]"'):
        database_from("postgresql://db/orders")
