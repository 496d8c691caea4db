"""Migrations: each file is applied once, in order, and all of a component's or none."""

import asyncio
from pathlib import Path

import pytest

from carrick import outbox, store
from carrick.errors import ConfigurationError
from carrick.store import Migrations
from carrick.store.schema import steps
from carrick.testing.contracts.site import StoreDatabase, StoreSite

__all__ = ["MigrationContract"]


@pytest.mark.asyncio
class MigrationContract:
    """What opening a database does to its schema."""

    async def test_opening_applies_what_is_due_once(self, store_site: StoreSite, tmp_path: Path) -> None:
        """A second opening applies only the file that was added since."""
        own = _migrations(tmp_path / "sql", m0001_first="CREATE TABLE first (id INTEGER);")
        async with store_site.database(migrations=[own]) as database:
            assert await _there(database, "first", "second") == ["first"]
        _migrations(tmp_path / "sql", m0002_second="CREATE TABLE second (id INTEGER); INSERT INTO first VALUES (1);")
        for _ in range(2):
            async with store_site.database(migrations=[own, store.MIGRATIONS]) as database, database.read() as tx:
                assert len((await tx.execute("SELECT id FROM first")).all()) == 1
                assert [(step.version, step.name, step.state) for step in await steps(tx, [own])] == [
                    (1, "first", "applied"),
                    (2, "second", "applied"),
                ]
                assert {step.state for step in await steps(tx, [store.MIGRATIONS])} == {"applied"}

    async def test_older_code_opens_a_newer_schema(self, store_site: StoreSite, tmp_path: Path) -> None:
        """During a roll-out the old version still starts on what the new one has migrated."""
        files = {"m0001_a": "CREATE TABLE a (id INTEGER);", "m0002_b": "CREATE TABLE b (id INTEGER);"}
        async with store_site.database(migrations=[_migrations(tmp_path / "new", **files)]):
            pass
        files.pop("m0002_b")
        async with store_site.database(migrations=[_migrations(tmp_path / "old", **files)]) as database:
            assert await _there(database, "a", "b") == ["a", "b"]

    async def test_a_changed_file_is_refused(self, store_site: StoreSite, tmp_path: Path) -> None:
        """What was applied is not applied again in other words."""
        async with store_site.database(migrations=[_migrations(tmp_path / "sql", m0001_a="SELECT 1;")]):
            pass
        changed = _migrations(tmp_path / "sql", m0001_a="SELECT 2;")
        with pytest.raises(ConfigurationError, match="shop: migration 0001_a was changed after it was applied"):
            async with store_site.database(migrations=[changed]):
                pytest.fail("opened")

    async def test_a_file_that_fails_leaves_nothing_of_its_component(
        self, store_site: StoreSite, tmp_path: Path
    ) -> None:
        """One transaction a component: what is due of it is applied wholly or not at all; others stay."""
        bad = {"m0001_a": "CREATE TABLE a (id INTEGER);", "m0002_b": "INSERT INTO missing VALUES (1);"}
        with pytest.raises(Exception, match="missing"):
            async with store_site.database(migrations=[store.MIGRATIONS, _migrations(tmp_path / "sql", **bad)]):
                pytest.fail("opened")
        async with store_site.database(migrations=[]) as database:
            assert await _there(database, "a", "carrick_inbox") == ["carrick_inbox"]
        good = _migrations(tmp_path / "sql", m0002_b="CREATE TABLE b (id INTEGER);")
        async with store_site.database(migrations=[good]) as database:
            assert await _there(database, "a", "b") == ["a", "b"]

    async def test_many_that_start_at_once_migrate_once(self, store_site: StoreSite, tmp_path: Path) -> None:
        """One migrates, the others wait for it and find nothing to do."""
        own = _migrations(tmp_path / "sql", m0001_a="CREATE TABLE a (id INTEGER);")

        async def start() -> None:
            async with store_site.database(migrations=[store.MIGRATIONS, own]):
                pass

        await asyncio.gather(*(start() for _ in range(5)))

    async def test_each_version_has_its_state(self, store_site: StoreSite, tmp_path: Path) -> None:
        """Applied, due, changed since, or applied by a newer version."""
        files = {"m0001_a": "CREATE TABLE a (n INTEGER);", "m0002_b": "CREATE TABLE b (n INTEGER);"}
        own = _migrations(tmp_path / "sql", **files)
        async with store_site.database(migrations=[own]) as database, database.read() as tx:
            assert [step.state for step in await steps(tx, [own])] == ["applied", "applied"]
            (tmp_path / "sql" / "0002_b.sql").unlink()
            _migrations(tmp_path / "sql", m0001_a="CREATE TABLE other (n INTEGER);")
            found = await steps(tx, [own, store.MIGRATIONS])
        assert [(step.version, step.name, step.state) for step in found if step.component == "shop"] == [
            (1, "a", "changed"),
            (2, "b", "newer"),
        ]
        assert {step.state for step in found if step.component == "carrick.store"} == {"due"}
        assert all((step.applied_at is None) == (step.state == "due") for step in found)
        assert all(step.applied_at.endswith("Z") for step in found if step.applied_at)

    async def test_what_was_applied_is_recorded(self, store_site: StoreSite) -> None:
        """Component, number, name, checksum and moment of each file, in the database itself."""
        components = [store.MIGRATIONS, outbox.MIGRATIONS]
        async with store_site.database(migrations=components) as database, database.read() as tx:
            rows = (await tx.execute("SELECT * FROM carrick_schema ORDER BY component DESC, version")).all()
        loaded = [each for component in components for each in component.load(store_site.dialect)]
        assert [(row.component, row.version, row.name, row.checksum) for row in rows] == [
            (each.component, each.version, each.name, each.checksum) for each in loaded
        ]
        assert all(row.applied_at for row in rows)


def _migrations(folder: Path, **files: str) -> Migrations:
    folder.mkdir(exist_ok=True)
    for name, sql in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(sql)
    return Migrations("shop", folder)


async def _there(database: StoreDatabase, *tables: str) -> list[str]:
    """Return which of the tables are there."""
    found = []
    for table in tables:
        try:
            async with database.read() as tx:
                await tx.execute(f"SELECT count(*) FROM {table}")  # noqa: S608  # a test's own
        except Exception:  # noqa: BLE001, S112  # each database has an error of its own for it
            continue
        found.append(table)
    return found
