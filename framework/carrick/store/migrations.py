"""Versioned SQL files: which there are, which were applied, which come next."""

import hashlib
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrick.errors import ConfigurationError
from carrick.store.dialect import Sql
from carrick.store.transaction import Transaction

__all__ = [
    "APPLIED",
    "MIGRATING",
    "RECORD",
    "SCHEMA_TABLE",
    "Migration",
    "Migrations",
    "due",
    "migrate",
    "statements",
]

SCHEMA_TABLE = Sql(
    sqlite="""
CREATE TABLE IF NOT EXISTS carrick_schema (
    component TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL, PRIMARY KEY (component, version))
""",
    postgresql="""
CREATE TABLE IF NOT EXISTS carrick_schema (
    component TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (component, version))
""",
)
"""Makes the table of what was applied, where it is not there yet."""

MIGRATING = Sql(sqlite="SELECT 1", postgresql="SELECT pg_advisory_xact_lock(7235418077264945)")
"""Lets one transaction of each database migrate at a time; in SQLite one writes at a time anyway."""

APPLIED = "SELECT version, checksum FROM carrick_schema WHERE component = :component"

RECORD = Sql(
    sqlite="""
INSERT INTO carrick_schema (component, version, name, checksum, applied_at)
VALUES (:component, :version, :name, :checksum, datetime('now'))
""",
    postgresql="""
INSERT INTO carrick_schema (component, version, name, checksum) VALUES (:component, :version, :name, :checksum)
""",
)

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql").fullmatch


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: a step from one version of a schema to the next, applied in one transaction."""

    component: str
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Tells whether an applied file was changed afterwards."""
        return hashlib.blake2b(self.sql.encode(), digest_size=16).hexdigest()

    @property
    def record(self) -> Mapping[str, Any]:
        """What is kept of it when it is applied."""
        return {
            "component": self.component,
            "version": self.version,
            "name": self.name,
            "checksum": self.checksum,
        }


@dataclass(frozen=True, slots=True)
class Migrations:
    """The SQL files of one component: ``0001_name.sql`` and on, in ``directory`` or its folder of the dialect."""

    component: str
    directory: Path

    def load(self, dialect: str) -> tuple[Migration, ...]:
        """Read the files. Raises ``ConfigurationError`` for a missing folder, a bad name or a gap in the numbers."""
        folder = self.directory / dialect
        folder = folder if folder.is_dir() else self.directory
        if not folder.is_dir():
            raise ConfigurationError(f"{self.component}: no folder of migrations at {folder}")
        found = tuple(self._migration(path) for path in sorted(folder.glob("*.sql")))
        if not found and folder is self.directory and any(folder.glob("*/*.sql")):
            raise ConfigurationError(
                f"{self.component} has no migrations for {dialect}: put them into {folder / dialect}"
            )
        for expected, migration in enumerate(found, start=1):
            if migration.version != expected:
                raise ConfigurationError(
                    f"{self.component}: migration {migration.version:04d} in {folder} should be {expected:04d}; "
                    "number the files 0001, 0002, ... without gaps"
                )
        return found

    def _migration(self, path: Path) -> Migration:
        match = _FILE_NAME(path.name)
        if match is None:
            raise ConfigurationError(f"{path}: name a migration like 0001_create_orders.sql")
        return Migration(self.component, int(match[1]), match[2], path.read_text(encoding="utf-8"))


def due(known: Sequence[Migration], applied: Mapping[int, str]) -> tuple[Migration, ...]:
    """Return what is to be applied, given the applied versions and their checksums.

    Versions that are applied and not known are left alone: older code runs on a newer schema. Raises
    ``ConfigurationError`` when an applied file was changed.
    """
    for migration in known:
        checksum = applied.get(migration.version)
        if checksum is not None and checksum != migration.checksum:
            raise ConfigurationError(
                f"{migration.component}: migration {migration.version:04d}_{migration.name} was changed after it was "
                "applied; put the change into a new file"
            )
    return tuple(migration for migration in known if migration.version not in applied)


async def migrate(tx: Transaction, known: Sequence[Migration], script: Callable[[str], Awaitable[None]]) -> None:
    """Apply in ``tx`` what is due of one component; ``script`` runs a file in it."""
    for migration in due(known, await _applied(tx, known)):
        await script(migration.sql)
        await tx.execute(RECORD.of(tx.dialect), migration.record)


async def _applied(tx: Transaction, known: Sequence[Migration]) -> dict[int, str]:
    rows = await tx.execute(
        APPLIED,
        {"component": known[0].component if known else ""},
    )
    return {row.version: row.checksum for row in rows.all()}


def statements(sql: str) -> Iterator[str]:
    """Split a file into its statements, triggers included (SQLite's rules)."""
    pending = ""
    for piece in re.split(r"(?<=;)", sql):
        pending += piece
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    if _without_comments(pending):
        yield pending.strip()


def _without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", sql).strip()
