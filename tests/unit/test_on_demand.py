"""Names that are imported when they are first used."""

import subprocess
import sys
from types import ModuleType

import pytest

import carrick.messaging
import carrick.outbox
import carrick.rpc
import carrick.store
from carrick._on_demand import on_demand


def test_a_name_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first use imports its module, and leaves the name in the package."""
    package = ModuleType("a_package")
    monkeypatch.setitem(sys.modules, "a_package", package)
    find = on_demand("a_package", RetryOptions="carrick.options")
    assert find("RetryOptions") is carrick.RetryOptions
    assert vars(package)["RetryOptions"] is carrick.RetryOptions


def test_any_other_name_is_an_attribute_error() -> None:
    """As in any module."""
    with pytest.raises(AttributeError, match="module 'a_package' has no attribute 'Typo'"):
        on_demand("a_package", Name="module")("Typo")


@pytest.mark.parametrize("package", [carrick.rpc, carrick.outbox, carrick.messaging, carrick.store])
def test_every_public_name_is_there(package: ModuleType) -> None:
    """What a package says it has can be had."""
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert not hasattr(package, "Typo")


def test_a_client_does_not_load_what_servers_need() -> None:
    """A generated client loads no server, relay, subscriber, reflection, settings or command line."""
    unneeded = {
        "carrick.rpc.server",
        "carrick.outbox.relay",
        "carrick.messaging.subscriber",
        "carrick.store.inbox",
        "grpc_health.v1",
        "grpc_reflection.v1alpha",
        "pydantic",
        "typer",
    }
    look = f"import sys, shop.orders.v1.orders_carrick; print(sorted({unneeded} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
