"""CloudEvents headers: what is written comes back, and what anybody else wrote does no harm."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from carrick.messaging.cloudevents import Envelope, decode, headers_for, read
from carrick.trace import Trace
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderLine, OrderPlaced

TEXT = st.text(min_size=1, max_size=60)
MOMENTS = st.floats(min_value=0, max_value=4e9)
GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOURCES = st.from_regex(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]{1,9}|/%[0-9A-F]{2}){1,5}", fullmatch=True)
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


@given(source=SOURCES, key=TEXT, correlation=IDS, causation=IDS, moment=MOMENTS, expires=st.none() | MOMENTS)
def test_every_envelope_comes_back(
    source: str, key: str, correlation: str, causation: str, moment: float, expires: float | None
) -> None:
    """Whatever text it is, it goes through the headers unharmed; moments do to the millisecond."""
    envelope = Envelope(
        id="018f-1",
        type=ORDER_PLACED.full_name,
        source=source,
        key=key,
        correlation_id=correlation,
        causation_id=causation,
        trace=Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", False, "a=b"),
        expires_at=expires,
        content_type="application/protobuf",
        spec_version="1.0",
    )
    back = read(headers_for(ORDER_PLACED, envelope, time=moment), fallback_id="none")
    assert back.time == pytest.approx(moment, abs=0.001)
    assert (back.expires_at is None) == (expires is None)
    assert (back.expires_at or 0.0) == pytest.approx(expires or 0.0, abs=0.001)
    assert replace(back, time=None, expires_at=expires) == envelope


@given(source=st.text(max_size=100), key=st.text(max_size=200))
def test_values_are_visible_ascii(source: str, key: str) -> None:
    """Space, quote, percent and everything beyond ASCII are percent-encoded; so are line breaks."""
    headers = headers_for(ORDER_PLACED, Envelope(id="1", source=source, key=key), time=0.0)
    for name in {"ce-source", "ce-partitionkey"} & set(headers):
        assert all("\x21" <= char <= "\x7e" and char != '"' for char in headers[name])


def test_encoding_is_the_bindings() -> None:
    """UTF-8, each byte as a percent sign and two digits in capitals."""
    headers = headers_for(ORDER_PLACED, Envelope(id="1", key='a "b" 50%\r\nü€'), time=0.0)
    assert headers["ce-partitionkey"] == "a%20%22b%22%2050%25%0D%0A%C3%BC%E2%82%AC"


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        ("orders", "orders"),
        ("https://example.com/a?b=[1]#c%20d", "https://example.com/a?b=[1]#c%20d"),
        ("orders of Zürich", "orders%20of%20Z%C3%BCrich"),
        ('50% "x"\r\n<>', "50%25%20%22x%22%0D%0A%3C%3E"),
    ],
)
def test_a_source_is_a_uri_reference(source: str, uri: str) -> None:
    """What such a one must not hold is percent-encoded, by the rules for URIs and once more by those for headers."""
    headers = headers_for(ORDER_PLACED, Envelope(id="1", source=source), time=0.0)
    assert headers["ce-source"] == uri.replace("%", "%25")
    assert read(headers, fallback_id="none").source == uri


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


def test_no_attribute_is_empty() -> None:
    """CloudEvents forbids it: what is empty has no header; a source must be there, and is then the contract's path."""
    headers = headers_for(
        ORDER_PLACED, Envelope(id="1", source="", key="", correlation_id="", causation_id=""), time=0.0
    )
    assert headers["ce-source"] == "shop/orders/v1/orders.proto"
    assert all(headers.values())
    assert not {"ce-partitionkey", "ce-correlationid", "ce-causationid"} & set(headers)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01t00:00:01.25z", 1.25),
        ("1970-01-01T00:00:00.123456789Z", 0.123456789),
        ("1970-01-01T02:30:00+02:30", 0.0),
        ("1969-12-31T22:00:00-02:00", 0.0),
        ("1970-01-01 00:00:00Z", 0.0),
        ("1970-01-01T00%3A00%3A07Z", 7.0),
        ("2016-12-31T23:59:60Z", 1483228800.0),
    ],
)
def test_moments_are_those_of_rfc_3339(text: str, seconds: float) -> None:
    """With any offset and any fraction; letters in either case, and a leap second."""
    envelope = read({"ce-time": text, "CE-ExpiryTime": text}, fallback_id="1")
    assert envelope.time == pytest.approx(seconds)
    assert envelope.expires_at == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "0",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00Z",
        "1970-02-30T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:00:61Z",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+0000",
        "\u0661970-01-01T00:00:00Z",
        "1970-01-01T00:00:00." + "0" * 2000 + "Z",
    ],
)
def test_what_is_no_moment_is_left_out(text: str) -> None:
    """A bad time makes no bad event."""
    envelope = read({"ce-time": text, "ce-expirytime": text}, fallback_id="1")
    assert (envelope.time, envelope.expires_at) == (None, None)


@given(st.text())
def test_any_text_may_be_a_moment(text: str) -> None:
    """Nothing that somebody writes there breaks the reading."""
    read({"ce-time": text, "ce-expirytime": text}, fallback_id="1")


def test_the_trace_of_the_extension_is_read_too() -> None:
    """In binary mode the extension for tracing has headers of its own; the transport's come first."""
    other = GOOD.replace("b7", "a7")
    trace = read({"ce-traceparent": other, "ce-tracestate": "a=b"}, fallback_id="1").trace
    assert trace is not None
    assert (trace.parent, trace.state) == (other, "a=b")
    trace = read({"ce-traceparent": other, "traceparent": GOOD}, fallback_id="1").trace
    assert trace is not None
    assert trace.parent == GOOD


def test_the_content_type_may_stand_in_the_binding_s_place() -> None:
    """Over HTTP it is ``Content-Type``, which others write here as well; the attribute comes first."""
    assert read({"Content-Type": "application/json"}, fallback_id="1").content_type == "application/json"
    both = read({"Content-Type": "text/plain", "ce-datacontenttype": "application/json"}, fallback_id="1")
    assert both.content_type == "application/json"


EVENT = OrderPlaced(order_id="o-1 ü", lines=[OrderLine(sku="s", quantity=2)], total=2**60)


@pytest.mark.parametrize(
    "content_type", [None, "application/protobuf", "application/x-protobuf", "Application/Protobuf; charset=binary"]
)
def test_protobuf_is_decoded(content_type: str | None) -> None:
    """By any of its names, and where nothing is said."""
    envelope = Envelope(id="1", content_type=content_type)
    assert decode(ORDER_PLACED, envelope, EVENT.SerializeToString()) == EVENT


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"])
@pytest.mark.parametrize("names", [True, False])
def test_protobuf_s_json_is_decoded(content_type: str, names: bool) -> None:
    """With the names of the contract or those of JSON; fields that are not known are passed over, as in protobuf."""
    known = json_format.MessageToDict(EVENT, preserving_proto_field_name=names)
    data = json.dumps({**known, "added_later": {"a": [1]}}, ensure_ascii=False).encode()
    assert decode(ORDER_PLACED, Envelope(id="1", content_type=content_type), data) == EVENT


@pytest.mark.parametrize(
    ("content_type", "data", "reason"),
    [
        ("application/protobuf", b"\xff\xff", "the payload is no shop.orders.v1.OrderPlaced"),
        ("application/json", b"", "the payload is no shop.orders.v1.OrderPlaced"),
        ("application/json", b"[]", "the payload is no shop.orders.v1.OrderPlaced"),
        ("application/json", b'{"total": "much"}', "total"),
        ("application/json", b"\xff", "the payload is no shop.orders.v1.OrderPlaced"),
        ("application/json", b"[" * 100_000, "the payload is no shop.orders.v1.OrderPlaced"),
        ("text/plain", b"hello", "of type 'text/plain'"),
        ("", b"\xff", "the payload is no shop.orders.v1.OrderPlaced"),
        ("application/cloudevents+json", b"{}", "structured mode"),
    ],
)
def test_what_can_t_be_read_says_why(content_type: str, data: bytes, reason: str) -> None:
    """A dead letter has these words."""
    with pytest.raises(ValueError, match=reason):
        decode(ORDER_PLACED, Envelope(id="1", content_type=content_type), data)


@pytest.mark.parametrize(("version", "good"), [(None, True), ("1.0", True), ("1.1", True), ("0.3", False), ("", False)])
def test_another_cloudevents_is_refused(version: str | None, good: bool) -> None:
    """Before 1.0 attributes had other names; without a version it is somebody's plain message."""
    envelope = Envelope(id="1", spec_version=version)
    if good:
        assert decode(ORDER_PLACED, envelope, b"") == OrderPlaced()
        return
    with pytest.raises(ValueError, match="follows CloudEvents"):
        decode(ORDER_PLACED, envelope, b"")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
FIELDS = st.sampled_from(["orderId", "order_id", "lines", "total", "sku", "quantity", "else"])
VALUES = st.recursive(LEAVES, lambda each: st.lists(each, max_size=3) | st.dictionaries(FIELDS, each, max_size=4))


@given(VALUES.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_no_payload_breaks_the_decoding(data: bytes) -> None:
    """Whatever anybody sends, an event or a reason comes of it."""
    for content_type in ("application/json", "application/protobuf"):
        with suppress(ValueError):
            assert isinstance(decode(ORDER_PLACED, Envelope(id="1", content_type=content_type), data), OrderPlaced)


def test_a_bad_trace_is_left_out() -> None:
    """A malformed position starts no trace; an endless state is dropped."""
    assert read({"traceparent": GOOD[:-1]}, fallback_id="1").trace is None
    trace = read({"traceparent": GOOD, "tracestate": "x" * 513}, fallback_id="1").trace
    assert trace is not None
    assert trace.state == ""


@given(
    st.dictionaries(
        st.sampled_from(["ce-id", "ce-type", "ce-source", "ce-time", "traceparent", "nats-msg-id"]), st.text()
    )
)
def test_no_header_breaks_the_reading(headers: dict[str, str]) -> None:
    """Whatever anybody sends, an envelope with a usable id comes of it."""
    envelope = read(headers, fallback_id="none")
    assert 1 <= len(envelope.id) <= 128
    assert envelope.id.isascii()
    assert envelope.id.isprintable()
