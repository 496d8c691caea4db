"""What is private to grpcio and used all the same."""

import pytest

from carrick import ConfigurationError
from carrick.rpc import connection
from carrick.rpc.transport import GrpcTransport
from carrick.testing import FakeClock


def test_the_installed_grpcio_has_what_is_used() -> None:
    """A release of grpcio that takes something away fails here first."""
    connection.check_grpcio()


@pytest.mark.parametrize(
    ("used", "said"),
    [({"AioChannel": ("call", "ring")}, "AioChannel.ring"), ({"AioTelegraph": ("call",)}, "AioTelegraph.call")],
)
def test_a_grpcio_without_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, used: dict[str, tuple[str, ...]], said: str
) -> None:
    """The message says what is missing and what to do, when a transport is made and not when it first calls."""
    monkeypatch.setattr(connection, "_PRIVATE", used)
    with pytest.raises(ConfigurationError, match=rf"{said}.*install a version"):
        GrpcTransport("127.0.0.1:1", FakeClock())
