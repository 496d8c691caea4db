"""google.rpc.Status: what is encoded can be decoded, and never costs the error that it describes."""

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from carrick import Code
from carrick.status import decoded, details_of, encoded, shortened

INFO = ErrorInfo(reason="SOLD_OUT", domain="shop")
STRANGE = AnyMessage(type_url="type.googleapis.com/nobody.knows.This", value=b"\x08\x01")


def test_an_error_comes_back_as_it_was() -> None:
    """Code, message and details, unpacked."""
    error = decoded(encoded(Code.NOT_FOUND, "gone", [INFO, RetryInfo()]))
    assert (error.code, error.message, error.details) == (Code.NOT_FOUND, "gone", (INFO, RetryInfo()))
    assert error.attempt is None


def test_a_detail_of_an_unknown_type_passes_through() -> None:
    """It stays packed when it is read, and is not packed once more when it is sent on."""
    status = encoded(Code.NOT_FOUND, "gone", [STRANGE])
    assert list(Status.FromString(status).details) == [STRANGE]
    assert details_of(status) == (STRANGE,)
    assert encoded(Code.NOT_FOUND, "gone", details_of(status)) == status


def test_encoding_again_gives_the_same_bytes() -> None:
    """Also where something was cut: what fits once fits again."""
    status = encoded(Code.ABORTED, "é" * 5000, [INFO, ErrorInfo(reason="x" * 1000), ErrorInfo(reason="x" * 5000)])
    error = decoded(status)
    assert encoded(error.code, error.message, error.details) == status
    assert len(error.message.encode()) == 1024
    assert len(error.details) == 2


def test_what_is_no_status_has_no_details() -> None:
    """A peer may send anything."""
    assert details_of(b"\xff\xff\xff") == ()
    assert (
        details_of(Status(details=[AnyMessage(type_url="x/google.rpc.ErrorInfo", value=b"\xff")]).SerializeToString())
        == ()
    )


@pytest.mark.parametrize(
    ("message", "short"),
    [("", ""), ("x" * 1024, "x" * 1024), ("x" * 1025, "x" * 1024), ("x" + "é" * 600, "x" + "é" * 511), ("\udc80", "?")],
    ids=["empty", "fits", "long", "between two bytes", "surrogate"],
)
def test_a_message_is_cut_between_characters(message: str, short: str) -> None:
    """At a kibibyte of UTF-8."""
    assert shortened(message) == short
