"""The ``carrick db`` command as users run it: what it prints, the status it ends with, and what it never shows."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-c", "from carrick.cli import main; main()", "db")


def _run(*arguments: str, folder: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("CARRICK_")}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**settings, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _json(*arguments: str, folder: Path, environment: dict[str, str] | None = None) -> list[dict[str, Any]]:
    done = _run(*arguments, "--json", folder=folder, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _states(found: list[dict[str, Any]]) -> dict[str, set[str]]:
    states: dict[str, set[str]] = {}
    for step in found:
        states.setdefault(step["component"], set()).add(step["state"])
    return states


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A service's own migrations."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "0001_orders.sql").write_text("CREATE TABLE orders (id TEXT PRIMARY KEY);\n")
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A database of each kind."""
    return "sqlite:///a.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def test_from_nothing_to_up_to_date_and_on(url: str, own: Path, tmp_path: Path) -> None:
    """Status and a dry run change nothing; what is applied is said once; a new file is due."""
    settings = {"CARRICK_DATABASE": url}
    mine = ("--migrations", "shop.orders=own")
    due = {"carrick.store": {"due"}, "carrick.outbox": {"due"}, "shop.orders": {"due"}}
    applied = {"carrick.store": {"applied"}, "carrick.outbox": {"applied"}, "shop.orders": {"applied"}}

    for command in (("status",), ("migrate", "--dry-run"), ("status",)):
        assert _states(_json(*command, *mine, folder=tmp_path, environment=settings)) == due
    assert not (tmp_path / "a.db").exists()

    done = _json("migrate", *mine, folder=tmp_path, environment=settings)
    assert _states(done) == applied
    assert all(step["applied_at"].endswith("Z") for step in done)
    assert _json("status", *mine, folder=tmp_path, environment=settings) == done
    assert _run("migrate", *mine, "--database", url, folder=tmp_path).stdout == "nothing is due\n"

    (own / "0002_items.sql").write_text("CREATE TABLE items (id TEXT);\n")
    text = _run("status", *mine, folder=tmp_path, environment=settings).stdout
    assert "shop.orders\n  0001_orders" in text
    assert text.splitlines()[-1].split() == ["0002_items", "due"]
    assert [step["name"] for step in _json("migrate", *mine, folder=tmp_path, environment=settings)] == ["items"]

    (own / "0002_items.sql").unlink()
    assert _json("status", *mine, folder=tmp_path, environment=settings)[-1]["state"] == "newer"
    (own / "0001_orders.sql").write_text("CREATE TABLE others (id TEXT);\n")
    assert _states(_json("status", *mine, folder=tmp_path, environment=settings))["shop.orders"] == {"changed", "newer"}
    for command in (("migrate",), ("migrate", "--dry-run")):
        refused = _run(*command, *mine, folder=tmp_path, environment=settings)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "shop.orders: migration 0001_orders was changed after it was applied" in refused.stderr


@pytest.mark.parametrize("form", ["sqlite:///{}", "sqlite:{}", "{}"])
def test_a_file_can_be_named_in_several_ways(form: str, tmp_path: Path) -> None:
    """With and without slashes, absolute, or as the settings of a service have it."""
    for number, path in enumerate(("b.db", str(tmp_path / "c.db"))):
        assert _run("migrate", "--database", form.format(path), folder=tmp_path).returncode == 0
        with closing(sqlite3.connect(tmp_path / ("b.db", "c.db")[number])) as file:
            assert file.execute("SELECT count(*) FROM carrick_outbox").fetchone() == (0,)


def test_a_schema_of_its_own(postgres_url: str, tmp_path: Path) -> None:
    """It is made where it is missing, and looked at where it is named."""
    settings = {"CARRICK_DATABASE": postgres_url}
    here = ("--schema", "shop")
    assert _states(_json("status", *here, folder=tmp_path, environment=settings))["carrick.outbox"] == {"due"}
    assert _run("migrate", *here, folder=tmp_path, environment=settings).returncode == 0
    assert _states(_json("status", *here, folder=tmp_path, environment=settings))["carrick.outbox"] == {"applied"}
    assert _states(_json("status", folder=tmp_path, environment=settings))["carrick.outbox"] == {"due"}
    refused = _run("status", *here, "--database", "a.db", folder=tmp_path)
    assert (refused.returncode, refused.stderr) == (
        2,
        "carrick: a schema is for PostgreSQL; in SQLite there are none\n",
    )


def test_a_password_is_never_shown(postgres_url: str, tmp_path: Path) -> None:
    """Neither the right one nor a wrong one, whatever is wrong with the rest."""
    where = postgres_url.rpartition("@")[2]
    secret = "s3cr3t"  # noqa: S105  # it opens nothing
    wrong = {
        f"postgresql://carrick:{secret}@{where}": 1,
        f"postgresql://carrick:{secret}@127.0.0.1:1/orders": 1,
        f"postgresql://carrick:{secret}@127.0.0.1:999999/orders": 2,
        f"postgresql://carrick:{secret}/x@127.0.0.1/orders": 2,
        f"mysql://carrick:{secret}@127.0.0.1/orders": 2,
        f"sqlite://carrick:{secret}@127.0.0.1/orders": 2,
    }
    for url, status in wrong.items():
        for command in ("status", "migrate"):
            done = _run(command, "--database", url, folder=tmp_path)
            assert done.returncode == status, (url, done.stderr)
            assert done.stderr.startswith("carrick: ")
            assert secret not in done.stdout + done.stderr
    password = _password(postgres_url)
    done = _run("migrate", "--database", postgres_url, folder=tmp_path)
    assert done.returncode == 0
    assert password not in done.stdout + done.stderr


def _password(url: str) -> str:
    return url.partition("://")[2].partition("@")[0].partition(":")[2]


@pytest.mark.parametrize("wrong", ["own", "=own", "shop="])
def test_a_component_needs_its_name(wrong: str, tmp_path: Path) -> None:
    """It is what its versions are recorded under."""
    done = _run("status", "--database", "a.db", "--migrations", wrong, folder=tmp_path)
    assert (done.returncode, "--migrations is COMPONENT=FOLDER" in done.stderr) == (2, True)


def test_roles_are_printed_and_nothing_is_executed(tmp_path: Path) -> None:
    """SQL for psql, without a database to connect to; a name or a level that makes no sense is refused."""
    done = _run("roles", "--service", "orders", "--level", "schema", "--owner", "orders_owner", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'CREATE SCHEMA "orders";' in done.stdout
    shared = _run("roles", "--service", "orders", "--level", "tables", "--shared", "shop", folder=tmp_path)
    assert 'GRANT USAGE, CREATE ON SCHEMA "shop" TO "orders";' in shared.stdout
    for wrong, said in ((("--service", "Orders", "--level", "schema"), "is no name"), (("--service", "a"), "--level")):
        refused = _run("roles", *wrong, folder=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr
