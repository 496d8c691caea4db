"""Subjects of events."""

import pytest

from carrick_codegen._subject import fault


@pytest.mark.parametrize("subject", ["orders.v1", "orders.placed.v1", "a-b.c_d.9.v12"])
def test_well_formed_subjects(subject: str) -> None:
    """Lower-case tokens with a version last are subjects."""
    assert fault(subject) is None


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("orders", "it needs two tokens or more, with dots between"),
        ("orders.placed", 'its last token is "placed" instead of a version like "v1"'),
        ("orders.v1.placed", 'its last token is "placed" instead of a version like "v1"'),
        ("orders.*.v1", "it holds a wildcard, but an event is published to one subject"),
        ("orders.>", "it holds a wildcard, but an event is published to one subject"),
        ("orders..v1", "there is nothing before, behind or between its dots"),
        (".orders.v1", "there is nothing before, behind or between its dots"),
        ("orders.v1.", "there is nothing before, behind or between its dots"),
        ("Orders.placed.v1", '"Orders" holds other signs than lower-case letters, digits, "-" and "_"'),
        ("orders.was placed.v1", '"was placed" holds other signs than lower-case letters, digits, "-" and "_"'),
        ("bestellungen.größe.v1", '"größe" holds other signs than lower-case letters, digits, "-" and "_"'),
        ("orders.placed.v1\n", '"v1\n" holds other signs than lower-case letters, digits, "-" and "_"'),
        ("$JS.api.v1", '"$JS" holds other signs than lower-case letters, digits, "-" and "_"'),
    ],
)
def test_malformed_subjects(subject: str, reason: str) -> None:
    """Each fault is named."""
    assert fault(subject) == reason
