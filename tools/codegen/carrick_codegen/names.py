"""Names in contracts and the Python names that they become."""

import keyword
import re
from pathlib import PurePosixPath

__all__ = [
    "RUNTIME_MODULES",
    "camel_case",
    "constant_name",
    "importable",
    "member_name",
    "module_name",
    "output_path",
    "snake_case",
]

RUNTIME_MODULES = {
    "ABC": "abc",
    "abstractmethod": "abc",
    "AsyncIterable": "collections.abc",
    "AsyncIterator": "collections.abc",
    "Awaitable": "collections.abc",
    "Callable": "collections.abc",
    "Any": "typing",
    "BreakerOptions": "carrick",
    "Code": "carrick",
    "Context": "carrick",
    "EventRoute": "carrick",
    "EventSpec": "carrick",
    "IdempotencyLevel": "carrick",
    "IdempotencyOptions": "carrick",
    "KeyRule": "carrick",
    "Metadata": "carrick",
    "MethodKind": "carrick",
    "MethodPolicy": "carrick",
    "MethodRoute": "carrick",
    "MethodSpec": "carrick",
    "RetryOptions": "carrick",
    "Outbox": "carrick.outbox",
    "Channel": "carrick.rpc",
    "ResponseStream": "carrick.rpc",
    "Transaction": "carrick.store",
    # Built in, and just as much in the way of a contract's own name:
    "float": "builtins",
    "frozenset": "builtins",
    "str": "builtins",
    "tuple": "builtins",
}
"""Every name that generated code may use, and the module that it comes from."""

_MEMBERS = {"routes", "_outbox"}
"""What generated classes define themselves."""

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """Return ``get_http_status`` for ``GetHTTPStatus``."""
    return _WORD_START.sub("_", name).lower()


def camel_case(text: str) -> str:
    """Return ``OrderLines`` for ``order_lines``, ``order-lines`` or ``order.lines``."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^0-9A-Za-z]+", text))


def member_name(name: str) -> str:
    """Return the name of a generated class's method: snake case, with an underscore behind it where it is taken."""
    member = snake_case(name)
    taken = keyword.iskeyword(member) or member in _MEMBERS or member in RUNTIME_MODULES
    is_special = member.startswith("__") and member.endswith("__")
    return f"{member}_" if taken or is_special else member


def constant_name(*names: str) -> str:
    """Return the name of a specification: ``PLACE_ORDER`` for ``PlaceOrder``."""
    constant = "_".join(snake_case(name) for name in names).upper()
    return f"{constant}_" if constant in RUNTIME_MODULES else constant


def module_name(path: str) -> str:
    """Return the Python module that protoc generates for a file's messages."""
    return f"{_module_stem(path)}_pb2"


def output_path(path: str) -> str:
    """Return the path of the file that this plugin generates: beside the one of the messages."""
    return f"{_module_stem(path).replace('.', '/')}_carrick.py"


def _module_stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix("")).replace("-", "_").replace("/", ".")


def importable(module: str) -> bool:
    """Tell whether a module's dotted name can stand in an import statement."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in module.split("."))
