"""Parts of carrick that are installed only where they are asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from carrick.errors import ConfigurationError

__all__ = ["extras_named"]

_EXTRAS = {
    "aiosqlite": "sqlite",
    "asyncpg": "postgres",
    "nats": "nats",
    "opentelemetry": "telemetry",
    "sqlalchemy": "sqlite",
}


@contextmanager
def extras_named(user: str) -> Iterator[None]:
    """Say which extra was left out when a module is missing that comes with one, and is needed by ``user``."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ConfigurationError(
            f'{user} needs {error.name}, which is not installed; run: pip install "carrick[{extra}]"'
        ) from error
