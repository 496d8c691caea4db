"""What generated modules ask of the runtime before they use anything else of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

__all__ = ["GENERATED_VERSION", "UntypedMessage", "message_class", "require_runtime"]

GENERATED_VERSION = 1
"""The newest version of generated code that this runtime serves. It serves the older ones too."""


def require_runtime(module: str, version: int) -> None:
    """Let ``module``, which is code of this version, go on. Raises ImportError when it needs a newer runtime."""
    if version > GENERATED_VERSION:
        from carrick import __version__

        raise ImportError(
            f"{module} was generated for a newer runtime (generated code {version}) than carrick {__version__}, "
            f"which is installed (generated code up to {GENERATED_VERSION}): pip install --upgrade carrick",
            name=module,
        )


class UntypedMessage(Message):
    """What type checkers know of a message class that no import statement reaches: it is one, with some fields."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...


def message_class(module: str, full_name: str, package: str | None = None) -> type[Message]:
    """Return the class of the message ``full_name``, which protoc's ``module`` declares under any name whatever.

    A module with leading dots is relative to ``package``.
    """
    import_module(module, package)
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))
