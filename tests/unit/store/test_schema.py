"""What is applied and what is due, without changing anything."""

from pathlib import Path

from carrick import store
from carrick.store import Migrations
from carrick.store.schema import steps, unapplied
from tests.unit.store.places import AnyDatabase, Place


def _own(folder: Path, **files: str) -> Migrations:
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.sql"):
        path.unlink()
    for name, sql in files.items():
        (folder / f"{name[1:]}.sql").write_text(sql)
    return Migrations("own", folder)


async def test_each_version_has_its_state(place: Place, tmp_path: Path) -> None:
    """Applied, due, changed since, or applied by a newer version."""
    folder = tmp_path / "own"
    own = _own(folder, _0001_a="CREATE TABLE a (n INTEGER);", _0002_b="CREATE TABLE b (n INTEGER);")
    async with place.database(migrations=[own]) as database, database.read() as tx:
        assert [step.state for step in await steps(tx, [own])] == ["applied", "applied"]
        _own(folder, _0001_a="CREATE TABLE other (n INTEGER);")
        found = await steps(tx, [own, store.MIGRATIONS])
    assert [(step.version, step.name, step.state) for step in found if step.component == "own"] == [
        (1, "a", "changed"),
        (2, "b", "newer"),
    ]
    assert {step.state for step in found if step.component == "carrick.store"} == {"due"}
    assert all((step.applied_at is None) == (step.state == "due") for step in found)
    assert all(step.applied_at.endswith("Z") for step in found if step.applied_at)


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
