"""Finding the app that a command names."""

import importlib
import importlib.util
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from carrick.app import App
from carrick.context import Context
from carrick.errors import ConfigurationError
from carrick.extras import extras_named

__all__ = ["Handler", "load_app", "load_handler"]

Handler: TypeAlias = Callable[[Any, Context], Awaitable[None]]


def load_app(name: str) -> App:
    """Import ``package`` (its ``app`` module's ``app()``) or ``package.module:function``, and make the app.

    Raises ``ConfigurationError`` that says what was looked for and not found.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon:
        module_name, function_name = f"{name}.app", "app"
    with extras_named(module_name):
        app = _function(module_name, function_name)()
    if not isinstance(app, App):
        raise ConfigurationError(f"{module_name}:{function_name}() must return a carrick.app.App, not {app!r}")
    return app


def load_handler(name: str) -> Handler:
    """Import ``package.module:function``, an async function of an event and its context.

    Raises ``ConfigurationError`` that says what was looked for and not found.
    """
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise ConfigurationError(f"name the handler as package.module:function, not {name!r}")
    found = _function(module_name, function_name)
    if not inspect.iscoroutinefunction(found):
        raise ConfigurationError(f"{name} is no handler; it must be: async def {function_name}(event, ctx)")
    return found


def _function(module_name: str, function_name: str) -> Callable[..., Any]:
    if not _exists(module_name):
        raise ConfigurationError(f"there is no module {module_name}; run the command in the folder that holds it")
    with extras_named(module_name):
        found = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(found):
        raise ConfigurationError(f"{module_name} has no function {function_name}()")
    return cast("Callable[..., Any]", found)


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
