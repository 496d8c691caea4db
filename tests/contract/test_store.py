"""What every database must do: the suite that adapters' authors get, run against SQLite and a real PostgreSQL."""

from collections import Counter
from pathlib import Path

import pytest

from carrick.testing.contracts import StoreContract
from tests.unit.store.places import Place


class TestSqlite(StoreContract):
    @pytest.fixture
    def store_site(self, tmp_path: Path) -> Place:
        """A file."""
        return Place(tmp_path / "test.db")


class TestPostgres(StoreContract):
    @pytest.fixture
    def store_site(self, postgres_url: str) -> Place:
        """A database on the session's server."""
        return Place(postgres_url)


def test_no_part_of_the_contract_hides_a_test_of_another() -> None:
    """Each test has a name of its own, so that all are run where the parts are put together."""
    names = Counter(name for part in StoreContract.__bases__ for name in vars(part) if name.startswith("test_"))
    assert len(names) > 70
    assert set(names.values()) == {1}
