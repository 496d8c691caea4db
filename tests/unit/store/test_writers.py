"""Which connections are recognised, and that nothing is imported for those that are not in use."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from carrick.outbox import Outbox
from carrick.store.writers import sync_writer, writer
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced


class _Own(sqlite3.Connection):
    """A class of a user's own."""


class _OwnSession(Session):
    """A class of a user's own."""


def test_subclasses_are_what_they_derive_from() -> None:
    """Users derive from connections, and drivers from each other's."""
    engine = create_engine("sqlite://")
    with closing(sqlite3.connect(":memory:", factory=_Own)) as connection, _OwnSession(engine) as session:
        for each, dialect in ((connection, "sqlite"), (session, "sqlite")):
            found = sync_writer(each)
            assert found is not None
            assert found.dialect == dialect
            assert writer(each) is None
    engine.dispose()


@pytest.mark.parametrize("stranger", [None, "tx", object(), sqlite3, create_engine("sqlite://")])
def test_anything_else_is_not(stranger: Any) -> None:
    """Engines and modules are no connections."""
    assert writer(stranger) is None
    assert sync_writer(stranger) is None


def test_no_driver_is_imported_that_is_not_in_use() -> None:
    """Neither with the outbox nor by a connection of another driver."""
    look = """
import sqlite3, sys
from carrick.outbox import Outbox
from carrick.store.writers import sync_writer
assert sync_writer(sqlite3.connect(":memory:", isolation_level=None)).refusal()
print(sorted({"aiosqlite", "asyncpg", "psycopg", "sqlalchemy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_in_a_pipeline_of_psycopg(postgres_url: str) -> None:
    """Statements that are on their way count: a transaction that was asked for is one."""
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute("CREATE TABLE carrick_outbox (n INTEGER)")
        async with connection.pipeline(), connection.transaction():
            found = writer(connection)
            assert found is not None
            assert found.refusal() is None
    with pytest.raises(Exception, match="closed"):
        await Outbox("orders").write(connection, ORDER_PLACED, OrderPlaced(order_id="a"))
