"""Message descriptors as the Python classes that protoc generates for them."""

from collections.abc import Collection

from google.protobuf.descriptor import Descriptor

from carrick_codegen._stubs import Stubs
from carrick_codegen.model import MessageType
from carrick_codegen.names import module_name

__all__ = ["MessageTypes"]


class MessageTypes:
    """The classes of messages, given the paths of the files that are generated in one run."""

    def __init__(self, generated: Collection[str]) -> None:
        self._generated = generated
        self._stubs = Stubs()
        self._types: dict[str, MessageType] = {}

    def of(self, message: Descriptor) -> MessageType:
        """Return the class of a message."""
        known = self._types.get(message.full_name)
        if known is None:
            known = self._types[message.full_name] = MessageType(
                module=module_name(message.file.name),
                names=_names(message),
                full_name=message.full_name,
                same_run=message.file.name in self._generated,
                has_stub=self._stubs.readable(message.file),
            )
        return known


def _names(message: Descriptor) -> tuple[str, ...]:
    outer = message.containing_type
    return (*(_names(outer) if outer is not None else ()), message.name)
