"""What generated modules ask of the runtime."""

import pytest
from google.protobuf.empty_pb2 import Empty

import carrick
from carrick.generated import GENERATED_VERSION, message_class, require_runtime


def test_code_of_this_version_and_of_older_ones_goes_on() -> None:
    """A runtime serves what was generated for it and before it."""
    require_runtime("acme.v1.orders_carrick", GENERATED_VERSION)
    require_runtime("acme.v1.orders_carrick", GENERATED_VERSION - 1)


def test_code_of_a_newer_version_says_what_to_install() -> None:
    """One sentence tells which module wants what, what is installed, and the command that helps."""
    with pytest.raises(ImportError) as caught:
        require_runtime("acme.v1.orders_carrick", GENERATED_VERSION + 1)
    assert caught.value.name == "acme.v1.orders_carrick"
    assert str(caught.value) == (
        f"acme.v1.orders_carrick was generated for a newer runtime (generated code {GENERATED_VERSION + 1}) than "
        f"carrick {carrick.__version__}, which is installed (generated code up to {GENERATED_VERSION}): "
        "pip install --upgrade carrick"
    )


@pytest.mark.parametrize(
    ("module", "package"), [("google.protobuf.empty_pb2", None), ("..protobuf.empty_pb2", "google.api")]
)
def test_a_message_class_by_its_full_name(module: str, package: str | None) -> None:
    """The class is the one that the module has."""
    assert message_class(module, "google.protobuf.Empty", package) is Empty
