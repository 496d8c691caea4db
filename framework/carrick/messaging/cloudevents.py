"""CloudEvents 1.0 in binary mode, as the NATS protocol binding puts it into headers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from carrick.event import EventSpec
from carrick.ids import accepted_id
from carrick.trace import Trace

__all__ = ["Envelope", "headers_for", "read"]

CONTENT_TYPE = "application/protobuf"

_KEPT = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PLAIN = re.compile(f"[{re.escape(_KEPT)}]*").fullmatch
_MAX_VALUE = 1024


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


def headers_for(spec: EventSpec[Any], envelope: Envelope, *, time: float) -> dict[str, str]:
    """Return the headers of an event that happened at ``time``, seconds since the epoch."""
    moment = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    headers = {
        "ce-specversion": "1.0",
        "ce-id": envelope.id,
        "ce-source": _encode(envelope.source or ""),
        "ce-type": spec.full_name,
        "ce-time": moment,
        "ce-datacontenttype": CONTENT_TYPE,
    }
    for name, value in (
        ("ce-partitionkey", envelope.key),
        ("ce-correlationid", envelope.correlation_id),
        ("ce-causationid", envelope.causation_id),
    ):
        if value is not None:
            headers[name] = _encode(value)
    if envelope.trace is not None:
        headers["traceparent"] = envelope.trace.parent
        if envelope.trace.state:
            headers["tracestate"] = envelope.trace.state
    return headers


def read(headers: Mapping[str, str], *, fallback_id: str) -> Envelope:
    """Read headers that anybody may have written; names are matched in any case.

    Without a usable ``ce-id`` the broker's message id serves, else ``fallback_id``. Ids that are not 1 to 128 visible
    ASCII characters are left out.
    """
    words = {name.lower(): value for name, value in headers.items()}
    return Envelope(
        id=_id(words.get("ce-id")) or _id(words.get("nats-msg-id")) or fallback_id,
        type=_text(words.get("ce-type")),
        source=_text(words.get("ce-source")),
        key=_text(words.get("ce-partitionkey")),
        correlation_id=_id(words.get("ce-correlationid")),
        causation_id=_id(words.get("ce-causationid")),
        trace=Trace.parse(words.get("traceparent"), words.get("tracestate")),
    )


def _encode(value: str) -> str:
    return value if _PLAIN(value) else quote(value, safe=_KEPT)


def _id(value: str | None) -> str | None:
    return None if value is None else accepted_id(unquote(value))


def _text(value: str | None) -> str | None:
    return None if value is None or len(value) > _MAX_VALUE else unquote(value)
