"""Finding the app that a command names."""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from carrick.app import App
from carrick.errors import ConfigurationError

__all__ = ["extras_named", "load_app"]

_EXTRAS = {
    "aiosqlite": "sqlite",
    "asyncpg": "postgres",
    "nats": "nats",
    "opentelemetry": "telemetry",
    "sqlalchemy": "sqlite",
}


def load_app(name: str) -> App:
    """Import ``package`` (its ``app`` module's ``app()``) or ``package.module:function``, and make the app.

    Raises ``ConfigurationError`` that says what was looked for and not found.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon:
        module_name, function_name = f"{name}.app", "app"
    if not _exists(module_name):
        raise ConfigurationError(f"there is no module {module_name}; run the command in the folder that holds it")
    with extras_named(module_name):
        make = getattr(importlib.import_module(module_name), function_name, None)
        if not callable(make):
            raise ConfigurationError(f"{module_name} has no function {function_name}()")
        app = make()
    if not isinstance(app, App):
        raise ConfigurationError(f"{module_name}:{function_name}() must return a carrick.app.App, not {app!r}")
    return app


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


def _exists(module_name: str) -> bool:
    if module_name.startswith("."):  # would be looked for in the package that imports it, and there is none
        return False
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            return False
        raise
    except ValueError:
        return False
