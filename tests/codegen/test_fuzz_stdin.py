"""Requests that no compiler makes: the program says so in one sentence, or answers, and never shows a traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from hypothesis import example, given
from hypothesis import strategies as st

from carrick.v1 import options_pb2
from tests.codegen.fuzz.contracts import contracts, request_for, small
from tests.codegen.fuzz.effort import bounded
from tests.codegen.running import run

PLUGIN = Path(sys.executable).parent / "protoc-gen-carrick"
COMPLAINT = "protoc-gen-carrick: stdin holds no request of buf or protoc: "

NUMBERS = st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 8), max_size=5)


class Request(bytes):
    """Bytes that hypothesis need not write out, all of them, to say which they are."""

    def __repr__(self) -> str:
        return f"<a request of {len(self)} bytes>"


@st.composite
def spoiled(draw: Callable[[Any], Any], strategy: st.SearchStrategy[FileDescriptorSet]) -> Request:
    """Draw the bytes of a request, of which some, not those of the imports, are others or missing."""
    request = request_for(draw(strategy))
    data = bytearray(request.SerializeToString())
    names = sum(len(name) + 2 for name in request.file_to_generate)
    own = sum(file.ByteSize() for file in request.proto_file if file.name in request.file_to_generate)
    places = st.integers(0, names - 1) | st.integers(len(data) - own, len(data) - 1)
    for place in draw(st.lists(places, max_size=4)):
        data[place] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del data[draw(places) :]
    return Request(data)


def check(data: bytes) -> None:
    """See that the program answers, or complains in one sentence."""
    stdout, status = run(data)
    if status == 0:
        CodeGeneratorResponse.FromString(stdout)
        return
    assert stdout == b""
    assert isinstance(status, str)
    assert status.startswith(COMPLAINT)
    assert "\n" not in status


@bounded(150)
@given(spoiled(contracts(sensible=True)))
@example(request_for(small()).SerializeToString() + b"\x0a\x01\x80")
def test_spoiled_requests(data: bytes) -> None:
    """Bytes that are wrong or missing anywhere are no reason for a traceback."""
    check(data)


@bounded(100)
@given(contracts(sensible=False), st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5), st.text(max_size=20))
@example(small(timeout=""), [([6, 0, 2, 0, 4], [])], "")
@example(small(timeout=""), [([6, 0, 2, 0, 4], [-5, -5, -5])], "")
def test_spoiled_places_and_parameters(
    files: FileDescriptorSet, places: list[tuple[list[int], list[int]]], parameter: str
) -> None:
    """Places that no compiler records, and any parameter, are no reason for a traceback."""
    for file in files.file:
        for path, span in places:
            file.source_code_info.location.add(path=path, span=span)
    request = request_for(files)
    request.parameter = parameter
    check(request.SerializeToString())


@pytest.mark.parametrize("option", [b"\xff", b"\x0a\x01\xff", b"\x0a\x03\x0a\x01\xff", b"\x10\x00", b"\x0a\x00"])
def test_spoiled_options(option: bytes) -> None:
    """An option of Carrick's that is not what its contract says is no reason for a traceback.

    This needs the real program: in this process the option would be parsed sooner.
    """
    request = request_for(FileDescriptorSet())
    method = MethodDescriptorProto(name="Get", input_type=".M", output_type=".M").SerializeToString()
    method += _field(4, _field(options_pb2.METHOD_FIELD_NUMBER, option))
    service = ServiceDescriptorProto(name="S").SerializeToString() + _field(2, method)
    file = FileDescriptorProto(name="a.proto", syntax="proto3", dependency=["carrick/v1/options.proto"])
    file.message_type.add(name="M")
    request.file_to_generate.append(file.name)
    data = request.SerializeToString() + _field(15, file.SerializeToString() + _field(6, service))
    result = subprocess.run([PLUGIN], input=data, capture_output=True, check=False)
    if result.returncode:
        assert result.stderr.startswith(COMPLAINT.encode())
        assert result.stderr.count(b"\n") == 1
    else:
        response = CodeGeneratorResponse.FromString(result.stdout)
        assert response.file or response.error


def test_spoiled_requests_to_the_real_program() -> None:
    """The installed program does the same with a request that is cut anywhere, or goes on behind its end."""
    file = FileDescriptorProto(name="a.proto", syntax="proto3")
    data = CodeGeneratorRequest(file_to_generate=["a.proto"], proto_file=[file]).SerializeToString()
    for spoiled_data in (b"", data[:5], data[:-1], data + b"\xff", data + data[:3], data[::-1]):
        result = subprocess.run([PLUGIN], input=spoiled_data, capture_output=True, check=False)
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.startswith(COMPLAINT.encode())
        assert result.stderr.count(b"\n") == 1


def _field(number: int, value: bytes) -> bytes:
    """Return the wire format of a field that holds bytes."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    head = bytearray()
    while number > 127:
        head.append(number & 127 | 128)
        number >>= 7
    return bytes([*head, number])


def test_a_comment_that_is_no_utf_8_is_read_as_well_as_it_can_be() -> None:
    """Protobuf hands it on as bytes."""
    request = request_for(small())
    own = next(file for file in request.proto_file if file.name in request.file_to_generate)
    own.source_code_info.location.add(path=[6, 0], span=[0, 0, 1], leading_comments=" caf@@ ")
    check(request.SerializeToString().replace(b"caf@@", b"caf\xff\xe9"))


@pytest.mark.parametrize("spoil", ["parameter", "name of a file", "name of a method"])
def test_a_name_that_is_no_utf_8_is_refused(spoil: str) -> None:
    """Protobuf hands that on as bytes too."""
    request = request_for(small(path="bad@@.proto") if spoil == "name of a file" else small(method="bad@@"))
    if spoil == "parameter":
        request.parameter = "bad@@"
    data = request.SerializeToString().replace(b"bad@@", b"bad\xff\xe9")
    stdout, status = run(data)
    assert stdout == b""
    assert isinstance(status, str)
    assert status.startswith(COMPLAINT)
    assert "is no UTF-8" in status
