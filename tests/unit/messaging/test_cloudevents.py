"""CloudEvents headers: what is written comes back, and what anybody else wrote does no harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.messaging.cloudevents import Envelope, headers_for, read
from carrick.trace import Trace
from shop.orders.v1.orders_carrick import ORDER_PLACED

TEXT = st.text(min_size=1, max_size=60)
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


def test_the_headers_are_those_of_the_binding() -> None:
    """Binary mode: one header an attribute, no ``Content-Type``, no header for what is not known."""
    trace = Trace.parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert headers_for(ORDER_PLACED, Envelope(id="1", source="orders", trace=trace), time=0.0) == {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "orders",
        "ce-type": "shop.orders.v1.OrderPlaced",
        "ce-time": "1970-01-01T00:00:00.000Z",
        "ce-datacontenttype": "application/protobuf",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


@given(source=TEXT, key=TEXT, correlation=IDS, causation=IDS)
def test_every_envelope_comes_back(source: str, key: str, correlation: str, causation: str) -> None:
    """Whatever text it is, it goes through the headers unharmed."""
    envelope = Envelope(
        id="018f-1",
        type=ORDER_PLACED.full_name,
        source=source,
        key=key,
        correlation_id=correlation,
        causation_id=causation,
        trace=Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", False, "a=b"),
    )
    assert read(headers_for(ORDER_PLACED, envelope, time=1.5), fallback_id="none") == envelope


@given(source=st.text(max_size=200), key=st.text(max_size=200))
def test_values_are_visible_ascii(source: str, key: str) -> None:
    """Space, quote, percent and everything beyond ASCII are percent-encoded; so are line breaks."""
    headers = headers_for(ORDER_PLACED, Envelope(id="1", source=source, key=key), time=0.0)
    for name in ("ce-source", "ce-partitionkey"):
        assert all("\x21" <= char <= "\x7e" and char != '"' for char in headers[name])


def test_encoding_is_the_bindings() -> None:
    """UTF-8, each byte as a percent sign and two digits in capitals."""
    headers = headers_for(ORDER_PLACED, Envelope(id="1", source='a "b" 50%\r\nü€'), time=0.0)
    assert headers["ce-source"] == "a%20%22b%22%2050%25%0D%0A%C3%BC%E2%82%AC"


def test_names_are_matched_in_any_case() -> None:
    """NATS keeps the case that a publisher chose."""
    envelope = read({"CE-Id": "1", "Ce-Type": "t", "TraceParent": "x"}, fallback_id="none")
    assert (envelope.id, envelope.type, envelope.trace) == ("1", "t", None)


@pytest.mark.parametrize(
    "bad", ["", " ", "a b", "a%20b", "%0d%0a", "ü", "%FF", "%", "x" * 129, "a\r\nce-id: b", "\x00", "%00"]
)
def test_a_bad_id_is_not_used(bad: str) -> None:
    """Ids that are empty, too long or not visible ASCII, encoded or not, give way to the broker's."""
    headers = {"ce-id": bad, "ce-correlationid": bad, "ce-causationid": bad, "Nats-Msg-Id": "of-nats"}
    envelope = read(headers, fallback_id="none")
    if bad == "%":
        assert envelope.id == "%"
        return
    assert (envelope.id, envelope.correlation_id, envelope.causation_id) == ("of-nats", None, None)
    assert read({"ce-id": bad, "Nats-Msg-Id": bad}, fallback_id="ORDERS:7").id == "ORDERS:7"


def test_without_headers_there_is_still_an_id() -> None:
    """A message of somebody who knows nothing of CloudEvents can be handled once, too."""
    assert read({}, fallback_id="ORDERS:7") == Envelope(id="ORDERS:7")


def test_long_values_are_left_out() -> None:
    """Text from outside is bounded."""
    envelope = read({"ce-type": "t" * 1025, "ce-source": "s" * 1025, "ce-partitionkey": "k" * 1025}, fallback_id="1")
    assert (envelope.type, envelope.source, envelope.key) == (None, None, None)
    assert read({"ce-source": "s" * 1024}, fallback_id="1").source == "s" * 1024


def test_a_bad_trace_is_left_out() -> None:
    """A malformed position starts no trace; an endless state is dropped."""
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert read({"traceparent": good[:-1]}, fallback_id="1").trace is None
    trace = read({"traceparent": good, "tracestate": "x" * 513}, fallback_id="1").trace
    assert trace is not None
    assert trace.state == ""


@given(st.dictionaries(st.sampled_from(["ce-id", "ce-type", "ce-source", "traceparent", "nats-msg-id"]), st.text()))
def test_no_header_breaks_the_reading(headers: dict[str, str]) -> None:
    """Whatever anybody sends, an envelope with a usable id comes of it."""
    envelope = read(headers, fallback_id="none")
    assert 1 <= len(envelope.id) <= 128
    assert envelope.id.isascii()
    assert envelope.id.isprintable()
