"""Asking for messages: one request at a time, so that each message that comes counts towards it."""

import json
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Ended", "Pulls", "Request", "status_of"]

_MARGIN = 1.0
_HEARTBEAT = 100
_NO_RESPONDERS = 503
_HARMLESS = ("Batch Completed", "Leadership Change", "Server Shutdown")


@dataclass(slots=True)
class Request:
    """What was asked for, until when, and what is still to come."""

    number: int
    left: int
    expires: float
    """Seconds of the loop's clock."""

    @property
    def forgotten(self) -> float:
        """When the server must have said that it has ended: without a word by then it is lost."""
        return self.expires + _MARGIN


class Ended(Enum):
    """Why a request has ended."""

    TIME = auto()
    """Its time was up, or there was nothing."""
    GONE = auto()
    """There is no such consumer."""
    REFUSED = auto()
    """The server would refuse it again."""
    OTHER = auto()
    """It was an earlier one, or it has not ended."""


class Pulls:
    """The requests of one consumer. No I/O."""

    def __init__(self, stream: str, name: str) -> None:
        self.inbox = b""
        self.request: Request | None = None
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}".encode()
        self._number = 0
        self._next_is_large = False

    def ask(self, count: int, most_bytes: int, now: float, seconds: float) -> bytes:
        """Return what asks for messages. The server says when it has ended without all of them.

        A message that is larger than all that was asked for would never come: it is asked for by itself.
        """
        asked = {"batch": 1 if self._next_is_large else count, "expires": round(seconds * 1e9)}
        if not self._next_is_large:
            asked["max_bytes"] = most_bytes
        self._next_is_large = False
        self._number += 1
        self.request = Request(self._number, asked["batch"], now + seconds)
        payload = json.dumps(asked).encode()
        return b"PUB %b %b.%d %d\r\n%b\r\n" % (self._subject, self.inbox, self._number, len(payload), payload)

    def came(self) -> None:
        """Hear of a message."""
        request = self.request
        if request is not None:
            request.left -= 1
            if request.left <= 0:
                self.request = None

    def ended(self, subject: bytes, code: int, reason: str) -> Ended:
        """Hear of a status: what was not sent is not asked for any more."""
        request = self.request
        if request is None or code == _HEARTBEAT or subject.rpartition(b".")[2] != b"%d" % request.number:
            return Ended.OTHER
        self.request = None
        if code == _NO_RESPONDERS or "Deleted" in reason:
            return Ended.GONE
        self._next_is_large = "Exceeds MaxBytes" in reason
        harmless = code in (404, 408) or self._next_is_large or reason in _HARMLESS
        return Ended.TIME if harmless else Ended.REFUSED

    def forget(self) -> None:
        """Count on nothing: the server may not know of what was asked."""
        self.request = None


def status_of(block: bytes | None) -> tuple[int, str]:
    """Return the status of a message that is none, like ``NATS/1.0 408 Request Timeout``, or 0."""
    line = (block or b"").partition(b"\r\n")[0].decode("utf-8", "replace")
    code, _, reason = line.partition(" ")[2].strip().partition(" ")
    return (int(code) if code.isdigit() else 0), reason
