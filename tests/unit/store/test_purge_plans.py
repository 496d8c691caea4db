"""What is purged, and what is due, is found by an index of PostgreSQL's, however much else there is."""

import pytest

from carrick import outbox, store
from carrick.outbox import table
from carrick.store import idempotency, inbox
from carrick.store.postgres import PostgresDatabase

STATEMENTS = {
    "published_at": table._PURGE._sql.postgresql,
    "due_at": table._PUBLISH_DUE._sql.postgresql,
    "expires_at": idempotency._PURGE.postgresql,
    "handled_at": inbox._PURGE.postgresql,
}


@pytest.mark.parametrize("column", STATEMENTS)
async def test_the_old_are_searched_for(postgres_url: str, column: str) -> None:
    """A clock that goes on during the statement is compared with each row that is kept."""
    statement = STATEMENTS[column].replace(":most", "500").replace(":age", "3600.0")
    async with (
        PostgresDatabase(postgres_url, migrations=[outbox.MIGRATIONS, store.MIGRATIONS]) as database,
        database.transaction() as tx,
    ):
        await tx.execute("SET LOCAL enable_seqscan = off")
        plan = (await tx.execute(f"EXPLAIN (COSTS OFF, FORMAT JSON) {statement}", {})).scalar_one()
    assert f'"Index Cond": "({column} <= ' in str(plan)
