import pytest

from carrick import Trace

_ID, _SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_parse(flags: str, sampled: bool) -> None:
    """A traceparent gives ids and the sampled bit; other flags are ignored."""
    assert Trace.parse(f"00-{_ID}-{_SPAN}-{flags}") == Trace(_ID, _SPAN, sampled=sampled)


@pytest.mark.parametrize("sampled", [True, False])
def test_round_trip(sampled: bool) -> None:
    """What one process writes, another reads."""
    trace = Trace(_ID, _SPAN, sampled=sampled)

    assert Trace.parse(trace.parent) == trace
    assert trace.parent == f"00-{_ID}-{_SPAN}-0{int(sampled)}"


@pytest.mark.parametrize(
    "parent",
    [
        None,
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "",
        "00",
        f"00-{_ID}-{_SPAN}",
        f"00-{_ID}-{_SPAN}-1",
        f"00-{_ID}-{_SPAN}-01-more",
        f"00-{_ID}-{_SPAN}-01\n",
        f"ff-{_ID}-{_SPAN}-01",
        f"00-{_ID.upper()}-{_SPAN}-01",
        f"00-{'0' * 32}-{_SPAN}-01",
        f"00-{_ID}-{'0' * 16}-01",
        f"00-{_ID[1:]}-{_SPAN}-01",
        f"00-{_ID}-{_SPAN}0-01",
        f"zz-{_ID}-{_SPAN}-01",
    ],
)
def test_malformed_parents_are_none(parent: object) -> None:
    """What W3C trace context does not allow starts no trace."""
    assert Trace.parse(parent) is None


def test_later_versions_are_read() -> None:
    """A later version may add to the end; what is known of it is used."""
    assert Trace.parse(f"01-{_ID}-{_SPAN}-01-more") == Trace(_ID, _SPAN, sampled=True)


def test_state_is_kept_up_to_512_characters() -> None:
    """A state of bounded length travels along, a longer one is dropped without the trace."""
    parent = f"00-{_ID}-{_SPAN}-01"

    assert Trace.parse(parent, "a=1") == Trace(_ID, _SPAN, sampled=True, state="a=1")
    assert Trace.parse(parent, "x" * 512) == Trace(_ID, _SPAN, sampled=True, state="x" * 512)
    assert Trace.parse(parent, "x" * 513) == Trace(_ID, _SPAN, sampled=True)
    assert Trace.parse(parent, b"a=1") == Trace(_ID, _SPAN, sampled=True)
