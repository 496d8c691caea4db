"""The plugin as a program and as a function: bytes that are no request, features, names of any kind."""

import ast
import keyword
import sys
from types import SimpleNamespace

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import Edition, FileDescriptorProto
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carrick_codegen import plugin
from carrick_codegen.names import RUNTIME_MODULES
from carrick_codegen.plugin import generate
from tests.codegen.running import run


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff")
@example(CodeGeneratorRequest(file_to_generate=["a.proto"]).SerializeToString())
@example(b"\x0a\x01\xff")
@example(CodeGeneratorRequest(file_to_generate=["a"], proto_file=[FileDescriptorProto()]).SerializeToString())
@example(
    CodeGeneratorRequest(
        file_to_generate=["a"], proto_file=[FileDescriptorProto(name="a", dependency=["b"])]
    ).SerializeToString()
)
def test_random_bytes_give_one_sentence(data: bytes) -> None:
    """Bytes that are no request end with one line on stderr, status 1, and nothing on stdout."""
    stdout, status = run(data)
    assert stdout == b""
    assert isinstance(status, str), "sys.exit prints a string to stderr and exits with 1"
    assert status.startswith("protoc-gen-carrick: stdin holds no request of buf or protoc: ")
    assert "\n" not in status


def test_a_terminal_on_stdin_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who starts the plugin by hand is told who runs it, instead of waiting for ever."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(SystemExit, match="is run by buf or protoc"):
        plugin.main()


def test_features() -> None:
    """The plugin says that it understands proto3's optional, and editions up to 2024."""
    file = FileDescriptorProto(name="a.proto", syntax="proto3")
    response = generate(CodeGeneratorRequest(file_to_generate=["a.proto"], proto_file=[file]))
    assert response.supported_features == (
        CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS
    )
    assert response.minimum_edition == Edition.EDITION_PROTO2
    assert response.maximum_edition == Edition.EDITION_2024


IDENTIFIERS = st.one_of(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True),
    st.sampled_from([*RUNTIME_MODULES, *keyword.kwlist, "routes", "__init__", "self", "tx", "request", "S0Client"]),
)


def any_file(messages: list[str], methods: list[str]) -> FileDescriptorProto:
    """Return a file with these messages, and two services that use them in these methods."""
    file = FileDescriptorProto(name="acme/v1/any.proto", package="acme.v1", syntax="proto3")
    for name in messages:
        file.message_type.add(name=name)
    for service in ("S0", "S1"):
        added = file.service.add(name=service)
        for index, name in enumerate(methods):
            request, response = messages[index % len(messages)], messages[-1 - index % len(messages)]
            added.method.add(name=name, input_type=f".acme.v1.{request}", output_type=f".acme.v1.{response}")
    return file


@settings(max_examples=200, deadline=None)
@given(
    st.lists(IDENTIFIERS, min_size=1, max_size=4, unique=True),
    st.lists(IDENTIFIERS, max_size=4, unique=True),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
)
def test_generated_text_always_compiles(messages: list[str], methods: list[str], comment: str) -> None:
    """Whatever things are called and comments hold, the text is Python and defines nothing twice."""
    messages = [name for name in messages if name not in {"S0", "S1"}] or ["M"]
    file = any_file(messages, methods)
    file.source_code_info.location.add(path=[6, 0], span=[0, 0, 0], leading_comments=comment)
    response = generate(CodeGeneratorRequest(file_to_generate=[file.name], proto_file=[file]))
    assert not response.error
    for generated in response.file:
        compile(generated.content, generated.name, "exec")
        _check_definitions(ast.parse(generated.content))


def _check_definitions(scope: ast.Module | ast.ClassDef) -> None:
    definitions = [
        each for each in scope.body if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    names = [each.name for each in definitions]
    assert len(names) == len(set(names)), f"one hides the other: {names}"
    assert not [name for name in names if name.startswith("_") and name != "__init__"], "a private name in Python"
    for each in definitions:
        if isinstance(each, ast.ClassDef):
            _check_definitions(each)
