"""A process's settings: typed, read from the environment once, and refused with a readable line."""

import difflib
import os
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from carrick.errors import ConfigurationError
from carrick.store.urls import sqlite_path

__all__ = ["ServiceSettings"]

_OF_COMMANDS = frozenset({"CARRICK_DATABASE_URL"})
"""Variables that only commands read, and that may be there when a service starts."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _database(url: str) -> str:
    try:
        sqlite_path(url)
    except ConfigurationError as error:
        raise ValueError(error.message) from None
    return url


class ServiceSettings(BaseSettings):
    """What every service needs to be told. Derive from it, add fields, and give the class an ``env_prefix``.

    Each field is read from the environment variable of its name in capitals behind the prefix, ``ORDERS_PORT``.
    """

    model_config = SettingsConfigDict(env_prefix="CARRICK_", frozen=True)

    host: str = "127.0.0.1"
    """Address to listen on. Loopback unless told."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 takes a free one."""
    database: Annotated[str, AfterValidator(_database), Field(repr=False)] = "service.db"
    """The path of a SQLite file, or ``postgresql://user:password@host/database``: for ``carrick.store.database_at``.

    May hold credentials: it is never logged.
    """
    nats_url: Annotated[str, Field(repr=False)] = "nats://127.0.0.1:4222"
    """May hold credentials: it is never logged."""
    startup_timeout: Seconds = 30.0
    """How long to wait for database and broker at the start."""
    grace: Seconds = 10.0
    """How long running calls may take at a stop."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_form: Literal["json", "text"] = "json"

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises ``ConfigurationError`` with one line that names each bad variable."""
        prefix = cls.model_config.get("env_prefix") or ""
        known = {f"{prefix}{name}".upper() for name in cls.model_fields}
        complaints = [
            _unknown(name, known)
            for name in os.environ
            if prefix and name.upper().startswith(prefix.upper()) and name.upper() not in known | _OF_COMMANDS
        ]
        try:
            settings = cls()
        except ValidationError as error:
            complaints += [
                f"{prefix}{'_'.join(str(part) for part in each['loc'])}".upper() + f": {each['msg']}"
                for each in error.errors(include_input=False, include_url=False)
            ]
        except SettingsError as error:
            complaints.append(f"{error}; write lists and mappings as JSON")
        if complaints:
            raise ConfigurationError("bad settings: " + "; ".join(complaints))
        return settings


def _unknown(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name.upper(), known, n=1)
    return f"{name} is no setting" + (
        f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
    )
