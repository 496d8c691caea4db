"""Names of a package that are imported when they are first used, so that who needs the others does not pay for them.

A client needs no server, no relay and no subscriber: `make bench-import` says what that is worth.
"""

import sys
from collections.abc import Callable
from importlib import import_module

__all__ = ["on_demand"]


def on_demand(package: str, **modules: str) -> Callable[[str], object]:
    """Return a ``__getattr__`` (PEP 562) for a package, given the module that each of the names is in.

    Define it under ``if not TYPE_CHECKING``, beside the imports that say the same to type checkers.
    """

    def find(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)  # the next use costs nothing
        return value

    return find
