"""The roles and grants that keep services of one PostgreSQL out of each other's tables, as SQL for an administrator."""

import re
from collections.abc import Iterator
from typing import Literal, get_args

from carrick.errors import ConfigurationError

__all__ = ["Level", "roles"]

Level = Literal["tables", "schema", "database"]
"""What a service has to itself: tables in a schema that it shares, a schema, or a database (on whichever server)."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}").fullmatch


def roles(service: str, level: Level, *, owner: str | None = None, shared: str = "public") -> str:
    """Return the script for psql that makes the role of a service, and what it lives in. Nothing is executed.

    The role is called as the service, and so is its schema or database. It gets no password: the script's comments say
    how to set one. With ``owner`` there is a second role, which makes and changes the tables, and the service's own
    only reads and writes rows. ``shared`` is the schema that services of the level ``"tables"`` have in common.

    Raises ``ConfigurationError`` for names that would have to be quoted everywhere, and for another level.
    """
    for name in (service, shared, *([] if owner is None else [owner])):
        _check(name)
    if level not in get_args(Level):
        raise ConfigurationError(f"level is one of {', '.join(get_args(Level))}, not {level}")
    if owner == service:
        raise ConfigurationError("owner is another role than the service's own; leave it out to have one role for both")
    if level == "tables" and shared == service:
        raise ConfigurationError(f"the shared schema can't be {shared}: there the service's own tables of carrick are")
    return "\n".join((*_head(service, level, owner), *_body(service, level, owner, shared), ""))


def _check(name: str) -> None:
    if not _NAME(name) or name.startswith("pg_"):
        raise ConfigurationError(
            f"{name!r} is no name for a role, schema or database here: write small letters, digits and _, 63 at "
            "most, beginning with a letter, and not with pg_"
        )


def _head(service: str, level: Level, owner: str | None) -> Iterator[str]:
    yield f"-- The service {service}, level: {level}. An administrator runs this once, with psql:"
    yield "--     psql -v ON_ERROR_STOP=1 -f FILE DATABASE"
    yield "-- and then gives each role a password, which psql asks for and sends encrypted:"
    for role in filter(None, (service, owner)):
        yield f'--     \\password "{role}"'
    yield ""


def _body(service: str, level: Level, owner: str | None, shared: str) -> Iterator[str]:
    if level == "database":  # CREATE DATABASE can't be part of a transaction
        yield from _roles(service, owner)
        yield from _database(service, owner)
        yield "BEGIN;"
        yield from _schema("public", service, owner)
    else:
        yield "BEGIN;"
        yield from _roles(service, owner)
        yield "-- Before PostgreSQL 15 everybody may make tables and functions in public."
        yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
        yield "-- The schema belongs to the administrator: the service can't open it to others."
        yield f'CREATE SCHEMA "{service}";'
        yield from _schema(service, service, owner)
        yield from _search_path(service, level, owner, shared)
    if level == "tables":
        yield "-- Here each role owns the tables that it makes; nobody else may read or write them."
        yield from _schema(shared, service, owner)
    yield "COMMIT;"


def _roles(service: str, owner: str | None) -> Iterator[str]:
    for role in filter(None, (service, owner)):
        yield f'CREATE ROLE "{role}" LOGIN;'


def _database(service: str, owner: str | None) -> Iterator[str]:
    yield f'CREATE DATABASE "{service}";'
    yield "-- Everybody may connect to a new database."
    yield f'REVOKE ALL ON DATABASE "{service}" FROM PUBLIC;'
    yield f'GRANT CONNECT, TEMPORARY ON DATABASE "{service}" TO {_list(service, owner)};'
    yield f'\\connect "{service}"'
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC;"


def _schema(schema: str, service: str, owner: str | None) -> Iterator[str]:
    """Let the service in, and nobody else."""
    maker = owner or service
    yield f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{maker}";'
    if owner is None:
        return
    yield f'GRANT USAGE ON SCHEMA "{schema}" TO "{service}";'
    yield "-- What the owner makes there, the service may use; to say so needs membership for a moment."
    yield f'GRANT "{owner}" TO CURRENT_USER;'
    default = f'ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" IN SCHEMA "{schema}" GRANT'
    yield f'{default} SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{service}";'
    yield f'{default} USAGE, SELECT ON SEQUENCES TO "{service}";'
    yield f'REVOKE "{owner}" FROM CURRENT_USER;'


def _search_path(service: str, level: Level, owner: str | None, shared: str) -> Iterator[str]:
    """Have names without a schema mean the service's own, and at the level of tables the shared ones after them."""
    path = f'"{service}", "{shared}"' if level == "tables" else f'"{service}"'
    for role in filter(None, (service, owner)):
        yield f'ALTER ROLE "{role}" SET search_path = {path};'


def _list(service: str, owner: str | None) -> str:
    return ", ".join(f'"{role}"' for role in (service, owner) if role)
