import pickle

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from carrick import (
    Attempt,
    AttemptKind,
    CarrickError,
    Code,
    ConfigurationError,
    DeadlineError,
    DuplicateEventError,
    MessagingError,
    OutboxError,
    RejectedError,
    RemoteError,
    StoreError,
    TransportError,
)

_ATTEMPT = Attempt(1, AttemptKind.FIRST)


def test_codes_are_those_of_grpc() -> None:
    """Each code has the name and number that it has on the wire."""
    assert {(code.name, int(code)) for code in Code} == {(code.name, code.value[0]) for code in grpc.StatusCode}


@pytest.mark.parametrize("kind", [RejectedError, TransportError, RemoteError, MessagingError, OutboxError, StoreError])
def test_errors_hold_code_message_details_and_attempt(kind: type[CarrickError]) -> None:
    """Every kind is a CarrickError with the same four things in it."""
    info = ErrorInfo(reason="WHY")
    error = kind(Code.UNAVAILABLE, "gone", [info], attempt=_ATTEMPT)

    assert isinstance(error, CarrickError)
    assert (error.code, error.message, error.details, error.attempt) == (Code.UNAVAILABLE, "gone", (info,), _ATTEMPT)
    assert str(error) == "UNAVAILABLE: gone"


@pytest.mark.parametrize("error", [DeadlineError("late", attempt=_ATTEMPT), ConfigurationError("wrong")])
def test_errors_go_through_pickle(error: CarrickError) -> None:
    """A pool of processes hands errors on as they are, also those whose class gives the code."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copy) is type(error)
    assert (copy.code, str(copy), copy.args) == (error.code, str(error), error.args)
    assert (copy.attempt is None) == (error.attempt is None)


def test_some_errors_have_a_code_of_their_own() -> None:
    """Where there is but one code for an error, nobody has to give it."""
    assert DeadlineError("late", attempt=_ATTEMPT).code is Code.DEADLINE_EXCEEDED
    assert DuplicateEventError("again").code is Code.ALREADY_EXISTS
    assert ConfigurationError("wrong").code is Code.FAILED_PRECONDITION


def test_a_configuration_error_is_shown_without_a_code() -> None:
    """Who starts a process reads the message only."""
    assert str(ConfigurationError("PORT is no number")) == "PORT is no number"
