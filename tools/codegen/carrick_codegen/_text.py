"""Text of a request that is none: protobuf does not check it here, and gives bytes in its place."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from carrick_codegen._errors import MalformedRequestError

__all__ = ["check_text"]


def check_text(request: CodeGeneratorRequest) -> None:
    """Raise ``MalformedRequestError`` for a name, or a parameter, that is no UTF-8. Comments may be as they like."""
    own = set(request.file_to_generate)
    parts: list[Any] = [request.parameter, *own]
    for file in request.proto_file:
        parts += _texts(file) if file.name in own else [file.name]
    for part in parts:
        if not isinstance(part, str):
            raise MalformedRequestError(f"{part!r} is no UTF-8")


def _texts(message: Message) -> Iterator[Any]:
    for field, value in message.ListFields():
        if field.name == "source_code_info":
            continue
        values = value if field.is_repeated else (value,)
        if field.type == FieldDescriptor.TYPE_STRING:
            yield from values
        elif field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_extension:
            for each in values:
                yield from _texts(each)
