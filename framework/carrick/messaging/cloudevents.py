"""CloudEvents 1.0 in binary mode, as the NATS protocol binding puts it into headers.

The attributes: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, with the extensions partitioning,
correlation, expiry time and distributed tracing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from carrick.event import EventSpec
from carrick.ids import accepted_id
from carrick.trace import Trace

__all__ = ["Envelope", "decode", "headers_for", "read"]

CONTENT_TYPE = "application/protobuf"

Event = TypeVar("Event", bound=Message)

_PROTOBUF = frozenset({CONTENT_TYPE, "application/x-protobuf", "application/vnd.google.protobuf"})
_JSON = "application/json"
_STRUCTURED = "application/cloudevents"
_KEPT = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PLAIN = re.compile(f"[{re.escape(_KEPT)}]*").fullmatch
_URI_SIGNS = "-._~:/?#[]@!$&'()*+,;="
_URI = re.compile(f"(?:[A-Za-z0-9{re.escape(_URI_SIGNS)}]|%[0-9A-Fa-f]{{2}})+").fullmatch
_NO_TRIPLET = re.compile("%(?![0-9A-Fa-f]{2})")
_MAX_VALUE = 1024
_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<time>[0-2]\d:[0-5]\d:)(?P<second>[0-5]\d|60)(?P<part>\.\d{1,20})?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3]):(?P<minutes>[0-5]\d))",
    re.ASCII,
).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is known of an event beside its data."""

    id: str
    type: str | None = None
    source: str | None = None
    key: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    trace: Trace | None = None
    time: float | None = None
    """When it happened: seconds since the epoch, by its producer's clock."""
    expires_at: float | None = None
    """From when on it is of no use: seconds since the epoch, by its producer's clock."""
    content_type: str | None = None
    """Media type of its data."""
    spec_version: str | None = None
    """The version of CloudEvents that it says it follows."""


def headers_for(spec: EventSpec[Any], envelope: Envelope, *, time: float) -> dict[str, str]:
    """Return the headers of an event of a contract that happened at ``time``, seconds since the epoch.

    CloudEvents allows no empty attributes, and its source is a URI-reference: what such a one must not hold is
    percent-encoded (and its percent signs are once more, in the header); without a source the contract's path is one.
    """
    headers = {
        "ce-specversion": "1.0",
        "ce-id": envelope.id,
        "ce-source": _encode(_uri(envelope.source or spec.source or spec.full_name)),
        "ce-type": spec.full_name,
        "ce-time": _moment(time),
        "ce-datacontenttype": CONTENT_TYPE,
    }
    for name, value in (
        ("ce-partitionkey", envelope.key),
        ("ce-correlationid", envelope.correlation_id),
        ("ce-causationid", envelope.causation_id),
    ):
        if value:
            headers[name] = _encode(value)
    if envelope.expires_at is not None:
        headers["ce-expirytime"] = _moment(envelope.expires_at)
    if envelope.trace is not None:
        headers["traceparent"] = envelope.trace.parent
        if envelope.trace.state:
            headers["tracestate"] = envelope.trace.state
    return headers


def read(headers: Mapping[str, str], *, fallback_id: str) -> Envelope:
    """Read headers that anybody may have written; names are matched in any case.

    Without a usable ``ce-id`` the broker's message id serves, else ``fallback_id``. Ids that are not 1 to 128 visible
    ASCII characters are left out, and so are moments that are not as in RFC 3339. Attributes that are not named here
    stay in the headers.
    """
    words = {name.lower(): value for name, value in headers.items()}
    return Envelope(
        id=_id(words.get("ce-id")) or _id(words.get("nats-msg-id")) or fallback_id,
        type=_text(words.get("ce-type")),
        source=_text(words.get("ce-source")),
        key=_text(words.get("ce-partitionkey")),
        correlation_id=_id(words.get("ce-correlationid")),
        causation_id=_id(words.get("ce-causationid")),
        trace=Trace.parse(words.get("traceparent"), words.get("tracestate"))
        or Trace.parse(words.get("ce-traceparent"), words.get("ce-tracestate")),
        time=_seconds(words.get("ce-time")),
        expires_at=_seconds(words.get("ce-expirytime")),
        content_type=_text(words.get("ce-datacontenttype")) or _text(words.get("content-type")),
        spec_version=_text(words.get("ce-specversion")),
    )


def decode(spec: EventSpec[Event], envelope: Envelope, data: bytes) -> Event:
    """Return an event's data as its message: protobuf, or protobuf's JSON, by its content type.

    Without a content type it is protobuf. Fields that are not known are passed over. Raises ``ValueError`` with the
    reason when it can't be read, now or ever.
    """
    version = envelope.spec_version
    if version is not None and version.partition(".")[0] != "1":
        raise ValueError(f"it follows CloudEvents {version!r}, and 1.0 is read")
    kind = (envelope.content_type or CONTENT_TYPE).partition(";")[0].strip().lower()
    try:
        if kind in _PROTOBUF:
            return spec.message.FromString(data)
        if kind == _JSON:
            if not data.lstrip().startswith(b"{"):  # an empty list would be an empty message
                raise ValueError("its JSON is no object")
            return json_format.Parse(data, spec.message(), ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError, RecursionError) as error:
        raise ValueError(f"the payload is no {spec.full_name}: {str(error) or type(error).__name__}") from error
    if kind.startswith(_STRUCTURED):
        raise ValueError(f"it is of CloudEvents' structured mode ({kind}), and binary mode is read: ce- headers")
    raise ValueError(f"the payload is of type {kind!r}, and {CONTENT_TYPE} and {_JSON} are read")


def _encode(value: str) -> str:
    return value if _PLAIN(value) else quote(value, safe=_KEPT)


def _decode(value: str) -> str:
    return unquote(value) if "%" in value else value  # nearly none has one, and finding that out is quicker


def _uri(source: str) -> str:
    """Return a source as a URI-reference (RFC 3986): the one it is, or the one that it maps to (RFC 3987, 3.1)."""
    return source if _URI(source) else quote(_NO_TRIPLET.sub("%25", source), safe=_URI_SIGNS + "%")


def _id(value: str | None) -> str | None:
    return None if value is None else accepted_id(_decode(value))


def _text(value: str | None) -> str | None:
    return None if value is None or len(value) > _MAX_VALUE else _decode(value)


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(value: str | None) -> float | None:
    """Read a moment of RFC 3339; None for anything else. A leap second counts as the first one after it."""
    found = None if value is None or len(value) > _MAX_VALUE else _MOMENT(_decode(value))
    if found is None:
        return None
    second, part = found["second"], float(found["part"] or 0)
    try:
        whole = datetime.fromisoformat(f"{found['day']}T{found['time']}{'59' if second == '60' else second}+00:00")
    except ValueError:
        return None
    offset = 60 * (60 * int(found["hours"] or 0) + int(found["minutes"] or 0)) * (-1 if found["sign"] == "-" else 1)
    return whole.timestamp() + (second == "60") + part - offset
