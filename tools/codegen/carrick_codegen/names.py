"""Names in contracts and the Python names that they become."""

import keyword
import re
import unicodedata
from functools import cache
from itertools import takewhile

from carrick_codegen._parts import OPTION_NAMES

__all__ = [
    "MEMBERS",
    "RUNTIME_MODULES",
    "best_reference",
    "camel_case",
    "constant_name",
    "fakes_output_path",
    "generated_module",
    "importable",
    "is_plain",
    "member_name",
    "module_name",
    "output_path",
    "public",
    "relative",
    "snake_case",
]

RUNTIME_MODULES = {
    "ABC": "abc",
    "abstractmethod": "abc",
    "AsyncIterable": "collections.abc",
    "AsyncIterator": "collections.abc",
    "Awaitable": "collections.abc",
    "Callable": "collections.abc",
    "Iterable": "collections.abc",
    "Sequence": "collections.abc",
    "datetime": "datetime",
    "import_module": "importlib",
    "Any": "typing",
    "TYPE_CHECKING": "typing",
    "deprecated": "typing_extensions",
    "Context": "carrick",
    "EventRoute": "carrick",
    "EventSpec": "carrick",
    "IdempotencyLevel": "carrick",
    "Metadata": "carrick",
    "MethodKind": "carrick",
    "MethodRoute": "carrick",
    "MethodSpec": "carrick",
    "PolicyOverride": "carrick",
    "Upcaster": "carrick",
    **dict.fromkeys(sorted(OPTION_NAMES), "carrick"),
    "UntypedMessage": "carrick.generated",
    "message_class": "carrick.generated",
    "require_runtime": "carrick.generated",
    "Outbox": "carrick.outbox",
    "BlockingChannel": "carrick.rpc",
    "BlockingResponseStream": "carrick.rpc",
    "Channel": "carrick.rpc",
    "ResponseStream": "carrick.rpc",
    "AnyTransaction": "carrick.store",
    "AnyTransactionSync": "carrick.store",
    "Transaction": "carrick.store",
    # Built in, and just as much in the way of a contract's own name:
    "float": "builtins",
    "frozenset": "builtins",
    "str": "builtins",
    "tuple": "builtins",
    # Defined by the generated module itself:
    "EVENTS": "",
}
"""Every name that generated code may use, and the module that it comes from. No name of a contract hides one."""

MEMBERS = {*RUNTIME_MODULES, "routes", "channel", "client", "blocking_client"}
"""What no method of a generated class is called: what annotations in it refer to, and what it defines itself."""

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@cache
def snake_case(name: str) -> str:
    """Return ``get_http_status`` for ``GetHTTPStatus``."""
    return _WORD_START.sub("_", name).lower()


def camel_case(text: str) -> str:
    """Return ``OrderLines`` for ``order_lines``, ``order-lines`` or ``order.lines``; never a digit in front."""
    camel = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^0-9A-Za-z]+", text))
    return f"X{camel}" if camel[:1].isdigit() else camel


def public(name: str) -> str:
    """Return a name of a contract as one that Python can define and others may use.

    Underscores in front would make it private, or have classes mangle it; a keyword gets one behind.
    """
    name = f"x{name}" if name.startswith("_") else name
    return f"{name}_" if keyword.iskeyword(name) else name


def member_name(*names: str) -> str:
    """Return the name of a generated class's method: snake case, with an underscore behind it where it is taken."""
    member = public("_".join(snake_case(name) for name in names))
    return f"{member}_" if member in MEMBERS else member


def constant_name(*names: str) -> str:
    """Return the name of a specification: ``PLACE_ORDER`` for ``PlaceOrder``."""
    constant = "_".join(snake_case(name) for name in names).upper()
    constant = f"X{constant}" if constant.startswith("_") else constant
    return f"{constant}_" if constant in RUNTIME_MODULES else constant


def module_name(path: str) -> str:
    """Return the Python module that protoc generates for a file's messages."""
    return f"{_module_stem(path)}_pb2"


def generated_module(path: str) -> str:
    """Return the Python module that this plugin generates: beside the one of the messages."""
    return f"{_module_stem(path)}_carrick"


def output_path(path: str) -> str:
    """Return the path of that module."""
    return f"{generated_module(path).replace('.', '/')}.py"


def fakes_output_path(path: str) -> str:
    """Return the path of the module with the fakes of its services."""
    return f"{generated_module(path).replace('.', '/')}_fakes.py"


def _module_stem(path: str) -> str:
    stem = path.removesuffix(".protodevel").removesuffix(".proto")
    return stem.replace("-", "_").replace("/", ".")


def relative(module: str, own_module: str) -> str:
    """Return the name of a module relative to another's package, ``..v1.orders_pb2``."""
    here, there = own_module.split(".")[:-1], module.split(".")
    common = _common_packages(module, own_module)
    return "." * (len(here) - common + 1) + ".".join(there[common:])


def best_reference(module: str, own_module: str) -> str:
    """Return a module's relative name where only that one can stand in an import statement, else its own.

    So what lies in one folder called ``import`` is at hand for the other.
    """
    if importable(module) or not _common_packages(module, own_module):
        return module
    near = relative(module, own_module)
    return near if importable(near) else module


def _common_packages(module: str, own_module: str) -> int:
    pairs = zip(own_module.split(".")[:-1], module.split(".")[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@cache
def importable(module: str) -> bool:
    """Tell whether a module's dotted name, or one relative to a package, can stand in an import statement."""
    return all(
        part.isidentifier() and not keyword.iskeyword(part) and unicodedata.normalize("NFKC", part) == part
        for part in module.lstrip(".").split(".")
    )


def is_plain(name: str) -> bool:
    """Tell whether a message of this name is an attribute that code may use, in its module or in an outer message."""
    return not keyword.iskeyword(name) and not name.startswith("_") and name != "DESCRIPTOR"
