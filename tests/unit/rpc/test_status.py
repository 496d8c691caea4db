import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from carrick import (
    Attempt,
    AttemptKind,
    CarrickError,
    Code,
    ConfigurationError,
    DeadlineError,
    MessagingError,
    Metadata,
    RejectedError,
    RemoteError,
    StoreError,
    TransportError,
)
from carrick.rpc.status import DETAILS, answer_for, error_from, grpc_code

_SECRET = "password=hunter2"  # noqa: S105
_DEPENDENCY = "a call that this one depends on failed"


def _attempt() -> Attempt:
    attempt = Attempt(1, AttemptKind.FIRST)
    attempt.sent = True
    return attempt


@pytest.mark.parametrize("code", list(Code))
def test_codes_map_to_grpc(code: Code) -> None:
    """Each code has gRPC's object of the same name."""
    assert grpc_code(code).name == code.name


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CarrickError(Code.NOT_FOUND, "no such order"), Code.NOT_FOUND, "no such order"),
        (CarrickError(Code.INTERNAL, "own words"), Code.INTERNAL, "own words"),
        (RejectedError(Code.RESOURCE_EXHAUSTED, "too many"), Code.RESOURCE_EXHAUSTED, "too many"),
        (DeadlineError("not begun"), Code.DEADLINE_EXCEEDED, "not begun"),
        (KeyError(_SECRET), Code.INTERNAL, "internal error; correlation id corr"),
        (ConnectionError(_SECRET), Code.INTERNAL, "internal error; correlation id corr"),
        (
            StoreError(Code.UNAVAILABLE, _SECRET),
            Code.UNAVAILABLE,
            "the service's database is not available; correlation id corr",
        ),
        (RemoteError(Code.UNAVAILABLE, _SECRET, attempt=_attempt()), Code.UNAVAILABLE, _DEPENDENCY),
        (RemoteError(Code.ABORTED, _SECRET, attempt=_attempt()), Code.ABORTED, _DEPENDENCY),
        (RemoteError(Code.RESOURCE_EXHAUSTED, _SECRET, attempt=_attempt()), Code.RESOURCE_EXHAUSTED, _DEPENDENCY),
        (TransportError(Code.CANCELLED, _SECRET, attempt=_attempt()), Code.CANCELLED, _DEPENDENCY),
        (DeadlineError(_SECRET, attempt=_attempt()), Code.DEADLINE_EXCEEDED, _DEPENDENCY),
        (
            RemoteError(Code.NOT_FOUND, _SECRET, attempt=_attempt()),
            Code.INTERNAL,
            f"{_DEPENDENCY}; correlation id corr",
        ),
        (
            RemoteError(Code.PERMISSION_DENIED, _SECRET, attempt=_attempt()),
            Code.INTERNAL,
            f"{_DEPENDENCY}; correlation id corr",
        ),
        (
            RemoteError(Code.UNAUTHENTICATED, _SECRET, [ErrorInfo(reason=_SECRET)], attempt=_attempt()),
            Code.INTERNAL,
            f"{_DEPENDENCY}; correlation id corr",
        ),
    ],
)
def test_what_a_caller_is_told(error: Exception, code: Code, message: str) -> None:
    """A handler's own words are passed on; what it depends on, and its faults, stay inside."""
    answer = answer_for(error, "corr")

    assert (answer.code, answer.message) == (code, message)
    ((name, packed),) = answer.trailers
    assert name == DETAILS
    assert isinstance(packed, bytes)
    assert _SECRET.encode() not in packed
    status = status_pb2.Status.FromString(packed)
    assert (status.code, status.message) == (code, message)


def test_details_are_packed() -> None:
    """Protobuf messages of any type travel in google.rpc.Status."""
    error = CarrickError(Code.INVALID_ARGUMENT, "bad", [ErrorInfo(reason="R"), BadRequest()])
    ((_, packed),) = answer_for(error, "corr").trailers
    assert isinstance(packed, bytes)
    details = status_pb2.Status.FromString(packed).details

    assert [each.TypeName() for each in details] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]


def test_a_long_message_is_cut() -> None:
    """A message must fit into gRPC's headers, and so must its copy in the details."""
    answer = answer_for(CarrickError(Code.INTERNAL, "x" * 100_000), "corr")

    assert len(answer.message) == 1024
    assert len(answer.trailers[0][1]) < 2000


def test_details_that_would_not_fit_are_left_out() -> None:
    """A peer drops a call whose metadata is too large: it gets the status without what is too much."""
    details = [ErrorInfo(reason="SMALL"), ErrorInfo(reason="x" * 100_000)]
    answer = answer_for(CarrickError(Code.INTERNAL, "words", details), "corr")

    assert len(status_pb2.Status.FromString(bytes(answer.trailers[0][1])).details) == 1  # type: ignore[arg-type]


def _failure(
    code: grpc.StatusCode, message: str | None = "words", trailers: Metadata = (), headers: Metadata = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(*headers), grpc.aio.Metadata(*trailers), message)


def test_a_peers_answer_is_a_remote_error() -> None:
    """It has the peer's own words, and the attempt has all that came with it."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason="R"))
    status = status_pb2.Status(code=5, message="words", details=[detail])
    trailers: Metadata = ((DETAILS, status.SerializeToString()), ("x-more", "1"))
    attempt = _attempt()
    error = error_from(_failure(grpc.StatusCode.NOT_FOUND, trailers=trailers, headers=(("h", "1"),)), attempt, "m")

    assert isinstance(error, RemoteError)
    assert (error.code, error.message, error.details) == (Code.NOT_FOUND, "words", (ErrorInfo(reason="R"),))
    assert error.attempt is attempt
    assert (attempt.code, attempt.trailers, attempt.headers) == (Code.NOT_FOUND, trailers, (("h", "1"),))


@pytest.mark.parametrize("value", [b"\xff\xff\xff", b"", "text"])
def test_bad_details_are_no_details(value: str | bytes) -> None:
    """A peer that sends nonsense is still understood."""
    error = error_from(_failure(grpc.StatusCode.NOT_FOUND, trailers=((DETAILS, value),)), _attempt(), "m")

    assert isinstance(error, RemoteError)
    assert error.details == ()


@pytest.mark.parametrize(
    ("code", "trailers", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, (), TransportError),
        (grpc.StatusCode.CANCELLED, (), TransportError),
        (grpc.StatusCode.INTERNAL, (), TransportError),
        (grpc.StatusCode.UNAVAILABLE, (("a", "b"),), RemoteError),
        (grpc.StatusCode.INTERNAL, (("a", "b"),), RemoteError),
        (grpc.StatusCode.UNIMPLEMENTED, (), RemoteError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, (), RemoteError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, (), DeadlineError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, (("a", "b"),), DeadlineError),
    ],
)
def test_whose_error_it_is(code: grpc.StatusCode, trailers: Metadata, kind: type[CarrickError]) -> None:
    """A status of the core, with nothing from the peer, is the transport's."""
    assert type(error_from(_failure(code, trailers=trailers), _attempt(), "m")) is kind


def test_the_method_is_named_where_the_peer_said_nothing() -> None:
    """Errors of transport and deadline tell which call it was."""
    for code, expected in [
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE: m: words"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED: m: words"),
    ]:
        assert str(error_from(_failure(code), _attempt(), "m")) == expected
    assert "the deadline passed" in str(error_from(_failure(grpc.StatusCode.DEADLINE_EXCEEDED, None), _attempt(), "m"))


@pytest.mark.parametrize(
    "error",
    [MessagingError(Code.UNAVAILABLE, f"publish to nats: {_SECRET}"), ConfigurationError(f"wrong {_SECRET}")],
)
def test_the_frameworks_own_faults_stay_inside(error: CarrickError) -> None:
    """A broker that is away or a process set up wrongly is no business of the caller's."""
    answer = answer_for(error, "corr")

    assert _SECRET not in answer.message
    assert "corr" in answer.message
