"""Message descriptors as the Python classes that protoc generates for them."""

import keyword

from google.protobuf.descriptor import Descriptor

from carrick_codegen._errors import ContractErrors
from carrick_codegen._source import Location
from carrick_codegen.model import MessageType
from carrick_codegen.names import importable, module_name

__all__ = ["message_type"]


def message_type(message: Descriptor, at: Location, errors: ContractErrors) -> MessageType:
    """Return the class of a message. Reports, ``at`` its use, what Python cannot import or write."""
    reference = MessageType(module_name(message.file.name), _names(message))
    if not importable(reference.module):
        errors.add(
            at,
            f"{message.full_name} is declared in {message.file.name}, which Python cannot import as "
            f"{reference.module}; rename the file or folder that is a Python keyword or no identifier",
        )
    for name in filter(keyword.iskeyword, reference.names):
        errors.add(at, f'message {message.full_name} is named like the Python keyword "{name}"; rename it')
    return reference


def _names(message: Descriptor) -> tuple[str, ...]:
    outer = message.containing_type
    return (*(_names(outer) if outer is not None else ()), message.name)
