"""Requests for messages, and what comes of them."""

import json

import pytest

from carrick.messaging.nats.delivery import headers_of, place_of
from carrick.messaging.nats.pulling import Ended, Pulls, status_of


def _pulls() -> Pulls:
    pulls = Pulls("S", "c")
    pulls.inbox = b"_INBOX.a"
    return pulls


def _asked(line: bytes) -> dict[str, int]:
    asked: dict[str, int] = json.loads(line.split(b"\r\n")[1])
    return asked


def test_a_request_is_a_piece_of_protocol() -> None:
    """With a subject of its own to answer to."""
    line = _pulls().ask(5, 1000, 0.0, 2.0)
    head, payload, rest = line.split(b"\r\n")
    assert head == b"PUB $JS.API.CONSUMER.MSG.NEXT.S.c _INBOX.a.1 %d" % len(payload)
    assert json.loads(payload) == {"batch": 5, "expires": 2_000_000_000, "max_bytes": 1000}
    assert rest == b""


def test_a_request_has_ended_when_all_have_come() -> None:
    """The server says nothing then."""
    pulls = _pulls()
    pulls.ask(2, 1000, 0.0, 2.0)
    pulls.came()
    assert pulls.request is not None
    pulls.came()
    assert pulls.request is None


@pytest.mark.parametrize(
    ("code", "reason", "ended"),
    [
        (408, "Request Timeout", Ended.TIME),
        (404, "No Messages", Ended.TIME),
        (409, "Batch Completed", Ended.TIME),
        (409, "Leadership Change", Ended.TIME),
        (409, "Message Size Exceeds MaxBytes", Ended.TIME),
        (409, "Consumer Deleted", Ended.GONE),
        (503, "", Ended.GONE),
        (409, "Exceeded MaxRequestBatch of 5", Ended.REFUSED),
        (400, "Bad Request", Ended.REFUSED),
    ],
)
def test_a_status_ends_its_request(code: int, reason: str, ended: Ended) -> None:
    """What was not sent is not asked for any more."""
    pulls = _pulls()
    pulls.ask(2, 1000, 0.0, 2.0)
    assert pulls.ended(b"_INBOX.a.1", code, reason) is ended
    assert pulls.request is None


def test_a_status_of_another_request_is_none_of_this() -> None:
    """It may be late; and a heartbeat ends nothing."""
    pulls = _pulls()
    pulls.ask(2, 1000, 0.0, 2.0)
    pulls.forget()
    pulls.ask(2, 1000, 0.0, 2.0)
    assert pulls.ended(b"_INBOX.a.1", 409, "Consumer Deleted") is Ended.OTHER
    assert pulls.ended(b"_INBOX.a.2", 100, "Idle Heartbeat") is Ended.OTHER
    assert pulls.request is not None


def test_a_message_larger_than_what_was_asked_for_is_asked_for_by_itself() -> None:
    """Once; then as before."""
    pulls = _pulls()
    pulls.ask(5, 1000, 0.0, 2.0)
    pulls.ended(b"_INBOX.a.1", 409, "Message Size Exceeds MaxBytes")
    asked = _asked(pulls.ask(5, 1000, 0.0, 2.0))
    assert (asked["batch"], "max_bytes" in asked) == (1, False)
    pulls.came()
    assert _asked(pulls.ask(5, 1000, 0.0, 2.0))["batch"] == 5


def test_a_status_is_read_from_the_headers() -> None:
    """With or without a description; a message has none."""
    assert status_of(b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 5\r\n\r\n") == (408, "Request Timeout")
    assert status_of(b"NATS/1.0 503\r\n\r\n") == (503, "")
    assert status_of(b"NATS/1.0\r\na: b\r\n\r\n") == (0, "")
    assert status_of(None) == (0, "")


@pytest.mark.parametrize(
    "reply",
    [
        b"$JS.ACK.S.c.2.30.4.1795544191127586870.7",
        b"$JS.ACK._.hash.S.c.2.30.4.1795544191127586870.7",
        b"$JS.ACK.hub.hash.S.c.2.30.4.1795544191127586870.7.random",
    ],
)
def test_a_place_is_read_from_the_reply(reply: bytes) -> None:
    """Of servers with and without a domain."""
    assert place_of(reply) == (2, 30, 4, 1795544191127586870, 7)


def test_what_is_no_place_is_refused() -> None:
    """Nothing else comes to the inbox with something to reply to."""
    with pytest.raises(ValueError, match="values to unpack"):
        place_of(b"_INBOX.a")


def test_headers_are_read_leniently() -> None:
    """What is no header is left out; values are trimmed; an empty one is one."""
    block = b"NATS/1.0\r\na: 1\r\nb:2\r\nEmpty:\r\nno header\r\nw x: 3\r\nv: \xff:y\r\n\r\n"
    assert headers_of(block) == {"a": "1", "b": "2", "Empty": "", "v": "\ufffd:y"}
    assert headers_of(None) == {}
