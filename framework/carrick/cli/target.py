"""Finding the app that a command names."""

import importlib
import importlib.util

from carrick.app import App
from carrick.errors import ConfigurationError
from carrick.extras import extras_named

__all__ = ["load_app"]


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
