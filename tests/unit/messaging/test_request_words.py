"""Headers of requests and answers: what is written comes back, and what anybody else wrote does no harm."""

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from hypothesis import given
from hypothesis import strategies as st

from carrick.context import Attempt, AttemptKind, Context
from carrick.errors import CarrickError, Code
from carrick.messaging.request_words import context_of, error_headers, error_of, request_headers, time_left
from carrick.status import encoded
from carrick.trace import Trace

TRACE = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True, "a=b")


def test_the_ids_of_the_cause_come_back() -> None:
    """Correlation, cause and trace as of an event; a key that is the same when the cause is handled again."""
    first, again = (
        context_of(request_headers(Context(None, correlation_id="c", key="k", trace=TRACE), "a.b", 1.0), 9.0)
        for _ in range(2)
    )
    assert (first.correlation_id, first.causation_id, first.trace, first.deadline) == ("c", "k", TRACE, 9.0)
    assert first.key == again.key


def test_a_request_of_its_own_has_ids_of_its_own() -> None:
    """Without a cause nothing is said of one."""
    first, other = (context_of(request_headers(None, "a.b", 1.0), 9.0) for _ in range(2))
    assert first.causation_id is None
    assert first.key != other.key
    assert first.correlation_id != other.correlation_id


@pytest.mark.parametrize(
    ("said", "left"), [("1.5", 1.5), ("0", 0.0), ("-1", -1.0), ("99", 10.0), ("nan", 10.0), ("inf", 10.0), ("x", 10.0)]
)
def test_the_time_left_is_bounded(said: str, left: float) -> None:
    """A responder gives a request no longer than it gives any; what is no time is none."""
    assert time_left({"X-Carrick-Timeout": said}, 10.0) == left
    assert time_left({}, 10.0) == 10.0


@given(st.dictionaries(st.sampled_from(["x-carrick-timeout", "x-correlation-id", "idempotency-key"]), st.text()))
def test_no_header_breaks_the_reading(headers: dict[str, str]) -> None:
    """Whatever anybody sends, a context with usable ids comes of it."""
    ctx = context_of(headers, 1.0)
    assert ctx.correlation_id.isascii()
    assert ctx.key
    assert time_left(headers, 1.0) <= 1.0


@given(st.sampled_from([code for code in Code if code]), st.text(max_size=200))
def test_every_error_comes_back(code: Code, message: str) -> None:
    """With its code, message and details, and the attempt that it is of."""
    error = CarrickError(code, message, [ErrorInfo(reason="R")])
    attempt = Attempt(1, AttemptKind.FIRST)
    back = error_of(error_headers(error), encoded(error.code, error.message, error.details), attempt)
    assert back is not None
    assert (back.code, back.message, back.details) == (code, message, error.details)
    assert back.attempt is attempt


def test_a_header_is_a_line() -> None:
    """Peers that read headers only get the message without its line breaks, and never an empty one."""
    assert error_headers(CarrickError(Code.NOT_FOUND, "a\r\nb")) == {
        "Nats-Service-Error-Code": "5",
        "Nats-Service-Error": "a b",
    }
    assert error_headers(CarrickError(Code.NOT_FOUND, ""))["Nats-Service-Error"] == "NOT_FOUND"


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b'{"no": "status"}', encoded(Code.NOT_FOUND, "other")])
@pytest.mark.parametrize("number", ["500", "", "x", "0", "99"])
def test_an_error_of_others_is_unknown_with_its_words(number: str, data: bytes) -> None:
    """A code that is not gRPC's, or that the payload does not have, says only that something failed."""
    back = error_of(
        {"nats-service-error-code": number, "nats-service-error": "boom"}, data, Attempt(1, AttemptKind.FIRST)
    )
    assert back is not None
    assert back.code is Code.UNKNOWN
    assert "boom" in back.message


def test_an_answer_is_no_error() -> None:
    """Without the header the payload is the answer."""
    assert error_of({"some": "header"}, encoded(Code.NOT_FOUND, ""), Attempt(1, AttemptKind.FIRST)) is None
