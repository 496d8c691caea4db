"""The framework's tables where Alembic keeps the schema.

In a revision of your own, which does nothing when it is run again, and again after an upgrade of carrick::

    def upgrade() -> None:
        apply(op.get_bind(), store.MIGRATIONS, outbox.MIGRATIONS)

and in ``env.py``, so that autogenerate does not propose to remove them::

    context.configure(..., include_name=include_name)
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

from carrick.errors import ConfigurationError
from carrick.store.dialect import Dialect
from carrick.store.migrations import APPLIED, MIGRATING, RECORD, SCHEMA_TABLE, Migration, Migrations, due, statements

__all__ = ["apply", "include_name"]


def apply(connection: Connection, *components: Migrations) -> tuple[Migration, ...]:
    """Apply in the connection's transaction what is due of some components; return what that was.

    Databases that are opened afterwards with these components find nothing due. Raises ``ConfigurationError`` when an
    applied file was changed, and for other databases than SQLite and PostgreSQL.
    """
    dialect = _dialect(connection)
    _begin(connection, dialect)
    connection.execute(text(MIGRATING.of(dialect)))
    connection.execute(text(SCHEMA_TABLE.of(dialect)))
    applied: list[Migration] = []
    for component in components:
        rows = connection.execute(text(APPLIED), {"component": component.component})
        for migration in due(component.load(dialect), {row.version: row.checksum for row in rows}):
            _script(connection, migration.sql, dialect)
            connection.execute(text(RECORD.of(dialect)), migration.record)
            applied.append(migration)
    return tuple(applied)


def include_name(name: str | None, type_: str, parent_names: Mapping[str, Any]) -> bool:
    """Leave the framework's tables out of what autogenerate compares: an ``include_name`` for ``context.configure``."""
    return not (type_ == "table" and name is not None and name.startswith("carrick_"))


def _dialect(connection: Connection) -> Dialect:
    if not isinstance(connection, Connection):
        raise ConfigurationError(
            f"migrations are applied on a SQLAlchemy Connection, not on a {type(connection).__name__}; "
            "Alembic has none in offline mode (--sql)"
        )
    name = connection.dialect.name
    if name == "sqlite":
        return "sqlite"
    if name == "postgresql":
        return "postgresql"
    raise ConfigurationError(f"the framework's tables are kept in SQLite or PostgreSQL, not in {name}")


def _begin(connection: Connection, dialect: Dialect) -> None:
    """Have SQLite begin: its driver does so before changes of rows only, not before those of the schema."""
    if dialect == "sqlite" and not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _script(connection: Connection, sql: str, dialect: Dialect) -> None:
    """Run a file as it is, with no sign in it taken for a parameter."""
    if dialect == "postgresql" and connection.dialect.is_async:  # which would prepare it: one statement at a time
        adapted: Any = connection.connection.dbapi_connection
        adapted.run_async(lambda driver: driver.execute(sql))
        return
    for statement in statements(sql) if dialect == "sqlite" else (sql,):
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
