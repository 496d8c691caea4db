"""Statements in the words of each database."""

import pytest

from carrick.store import Sql
from tests.unit.store.places import AnyDatabase

NOW = Sql.template("SELECT {now} AS now, {greatest}(1, 2) AS greatest, {least}(1, 2) AS least")


def test_a_template_has_the_words_of_each() -> None:
    """One text, two statements."""
    sql = Sql.template("SELECT {greatest}(a, b) FROM t {lock}")
    assert sql.of("sqlite") == "SELECT MAX(a, b) FROM t "
    assert sql.of("postgresql") == "SELECT GREATEST(a, b) FROM t FOR UPDATE"


def test_what_differs_altogether_is_written_twice() -> None:
    """Two texts, of which the dialect chooses."""
    sql = Sql(sqlite="PRAGMA x", postgresql="SHOW x")
    assert (sql.of("sqlite"), sql.of("postgresql")) == ("PRAGMA x", "SHOW x")


async def test_the_databases_tell_seconds_since_the_epoch(database: AnyDatabase) -> None:
    """As floats, by their own clock, which goes on inside of a transaction."""
    async with database.transaction() as tx:
        row = (await tx.execute(NOW.of(tx.dialect))).first()
        assert row is not None
        assert type(row.now) is float
        assert row.now > 1_700_000_000
        assert (row.greatest, row.least) == (2, 1)
        later = (await tx.execute(NOW.of(tx.dialect))).first()
        assert later is not None
        assert later.now >= row.now
        assert later.now - row.now == pytest.approx(0.0, abs=600.0)
