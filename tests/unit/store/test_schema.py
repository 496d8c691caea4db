"""What is applied and what is due, without changing anything."""

from carrick import store
from carrick.store.schema import steps, unapplied
from tests.unit.store.places import AnyDatabase, Place


async def test_a_database_that_nobody_migrated_is_left_so(place: Place) -> None:
    """Looking makes no table."""
    database: AnyDatabase = place.database()
    await database.connect()
    async with database.read() as tx:
        found = await steps(tx, [store.MIGRATIONS])
        assert found == unapplied(tx.dialect, [store.MIGRATIONS])
        assert found == await steps(tx, [store.MIGRATIONS])
    await database.close()
    assert {step.state for step in found} == {"due"}
