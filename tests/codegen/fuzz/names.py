"""Names as nobody should choose them, and comments as nobody should write them."""

import builtins
import keyword
import pkgutil
import sys
import typing
from collections.abc import Iterable

from google.protobuf.message import Message
from hypothesis import strategies as st

import carrick

__all__ = ["COMMENTS", "FIELDS", "FOLDERS", "IDENTIFIERS", "MESSAGES", "NESTED", "PACKAGES"]

_ODD = """
self cls request requests response responses ctx timeout key metadata channel policy tx event events handler outbox
routes _outbox _channel annotations carrick google grpc protobuf abc collections importlib typing catalogue main
ABC Any AsyncIterable AsyncIterator Awaitable Callable Channel Outbox ResponseStream AnyTransaction M M_ MClient
MServicer MStub MEvents MBlockingEvents on_m apply_m Transaction handling upcasters Client Servicer Events
_ __ ___ _M __M M__ __private __private_ __init__ __class__ __dict__ __slots__ __all__ __name__ __doc__ __new__
__getattr__ __call__ __annotations__ __file__ __path__ getIt get_it GetIt GETIT Get_It getHTTPStatus
""".split()  # noqa: SIM905
"""What generated code calls its own, what differs in case only, and underscores."""

_PYTHON = [
    *keyword.kwlist,
    *keyword.softkwlist,
    *(name for name in dir(builtins) if name.isascii()),
    *typing.__all__,
    *carrick.__all__,
]

_LETTERS = "aBcX_19y"


def _random(number: int) -> str:
    """Return a name of no meaning, a different one for each number."""
    name = ""
    while number:
        number, digit = divmod(number, len(_LETTERS))
        name += _LETTERS[digit]
    return f"n{name}" if not name or name[0].isdigit() else name


def _names(known: Iterable[str]) -> st.SearchStrategy[str]:
    choices = [*known, *map(_random, range(500))]
    return st.sampled_from(choices)


IDENTIFIERS = _names([*_ODD, *_PYTHON, *_ODD, *keyword.kwlist])
"""Names of services and methods."""

FIELDS = _names(name for name in [*_ODD, *_PYTHON] if not name.startswith("__"))
"""Names of fields and oneofs; a field ``__class__`` takes the place of Python's own."""

PACKAGES = _names(name for name in [*_ODD, *_PYTHON] if name not in {"carrick", "google"})

_NOT_IN_MODULES = {"DESCRIPTOR", "__all__", "__getattr__"}
_NOT_IN_MESSAGES = {*dir(Message), "DESCRIPTOR", "Extensions", "FromString", "RegisterExtension"}
"""Names that protoc's own modules, or the classes of messages, cannot do without."""

MESSAGES = _names(name for name in [*_ODD, *_PYTHON] if name not in _NOT_IN_MODULES)
NESTED = _names(name for name in [*_ODD, *_PYTHON] if name not in _NOT_IN_MESSAGES)

_NOT_IN_PATHS = {
    *sys.stdlib_module_names,
    "carrick",
    "google",
    "grpc",
    "carrick_codegen",
    "services",
    "tests",
    *carrick.__all__,
    *(module.name for module in pkgutil.iter_modules(carrick.__path__)),
    *(name for name in _ODD if name.startswith("__")),
}
"""Names of modules, and of what packages have, that are there already."""

FOLDERS = _names(
    name
    for name in [*keyword.kwlist, *_ODD, "2fa", "odd-name", "odd name", "v1", "a_b", "a-c", "x+y", "größe"]
    if name not in _NOT_IN_PATHS
)
"""Names of folders and files."""

COMMENTS = st.sampled_from(
    ['"""', "\\", "\\N{nope}", "\\u12 \\x1", '""""', '\\"""', "{0} %s {{}}", "\n\n\n", "- a\n- b", "'''", " Plain.\n"]
) | st.text(st.sampled_from("\"'\\{}$%# \n\t\r*`:-aé\x00\x0c\u2028"), max_size=20)
