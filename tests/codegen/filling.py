"""Messages for tests, of any class."""

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

__all__ = ["filled"]


def filled(of: type[Message]) -> Message:
    """Return a message with its required fields set."""
    message = of()
    for field in message.DESCRIPTOR.fields:
        if field.is_required and field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP):
            getattr(message, field.name).CopyFrom(filled(type(getattr(message, field.name))))
        elif field.is_required:
            setattr(message, field.name, getattr(message, field.name))
    return message
