"""The field that keeps an event's messages in order."""

import difflib

from google.protobuf.descriptor import Descriptor, FieldDescriptor

__all__ = ["candidates", "fault"]

_KEY_TYPES = {
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED32,
    FieldDescriptor.TYPE_SFIXED64,
}


def fault(message: Descriptor, key: str) -> str | None:
    """Return what is wrong with a key, and what to write instead; None when it is a field that can be one."""
    field = message.fields_by_name.get(key)
    if field is None:
        return f'{message.full_name} has no field "{key}"; {_advice(message, key)}'
    if _can_be_key(field):
        return None
    return (
        f'the field "{key}" cannot be the key: a key is one string, integer or bool, not repeated; '
        f"{_advice(message, '')}"
    )


def candidates(message: Descriptor) -> list[str]:
    """Return the names of the fields that can be the key."""
    return [field.name for field in message.fields if _can_be_key(field)]


def _can_be_key(field: FieldDescriptor) -> bool:
    return field.type in _KEY_TYPES and not field.is_repeated


def _advice(message: Descriptor, key: str) -> str:
    names = candidates(message)
    near = difflib.get_close_matches(key, names, n=3)
    if near:
        return f"did you mean {_quoted(near, ' or ')}?"
    if names:
        return f"fields that can be: {_quoted(names, ', ')}"
    return "add a string field that names what the event is about"


def _quoted(names: list[str], separator: str) -> str:
    return separator.join(f'"{name}"' for name in names)
