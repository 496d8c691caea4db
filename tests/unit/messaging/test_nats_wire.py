"""Publishes as NATS's protocol has them: nothing that is in a message can end its place."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import BadHeaderError, BadSubjectError, MaxPayloadError

from carrick.errors import ConfigurationError
from carrick.messaging.nats.wire import check_nats_py, publication

LIMIT = 1_000_000
NAMES = st.from_regex(r"[A-Za-z-]{1,20}", fullmatch=True)
HEADERS = st.dictionaries(NAMES, st.text())


def _read(published: bytes) -> tuple[str, dict[str, str], bytes]:
    """Read a publish as the server does: by the sizes in its first line."""
    first, _, rest = published.partition(b"\r\n")
    verb, subject, length, size = first.decode().split(" ")
    assert verb == "HPUB"
    block, data, end = rest[: int(length)], rest[int(length) : int(size)], rest[int(size) :]
    assert end == b"\r\n"
    lines = block.decode().split("\r\n")
    assert (lines[0], lines[-2:]) == ("NATS/1.0", ["", ""])
    return subject, dict(re.split(": ", line, maxsplit=1) for line in lines[1:-2]), data


@given(HEADERS, st.binary())
def test_a_publish_is_read_as_it_was_meant(headers: dict[str, str], data: bytes) -> None:
    """Any text is a value, on one line; any bytes are data."""
    subject, read, rest = _read(publication("a.b", headers, data, limit=LIMIT))
    assert (subject, rest) == ("a.b", data)
    assert read == {name: re.sub(r"[\r\n]", " ", value) for name, value in headers.items()}


def test_a_publish_may_ask_for_an_answer() -> None:
    """The subject to answer to stands between its own and the sizes."""
    assert publication("a.b", {}, b"1", limit=LIMIT, reply="_INBOX.x.y") == (
        b"HPUB a.b _INBOX.x.y 12 13\r\nNATS/1.0\r\n\r\n1\r\n"
    )


def test_what_is_no_text_is_refused() -> None:
    """Half of a pair of surrogates can't be sent."""
    with pytest.raises(BadHeaderError):
        publication("a.b", {"name": "\ud800"}, b"", limit=LIMIT)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ü", "a: b\r\nc"])
def test_a_name_that_would_end_its_place_is_refused(name: str) -> None:
    """A colon, a space or a line break would make another header of it."""
    with pytest.raises(BadHeaderError):
        publication("a.b", {name: "1"}, b"", limit=LIMIT)


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0", "a\tb", "a\x00"])
def test_a_subject_that_would_end_its_place_is_refused(subject: str) -> None:
    """A space or a line break would make another command of it."""
    with pytest.raises(BadSubjectError):
        publication(subject, {}, b"", limit=LIMIT)


def test_the_limit_is_of_headers_and_data() -> None:
    """The server counts both, and cuts the connection of who sends more."""
    published = publication("a.b", {"name": "é"}, b"x" * 100, limit=LIMIT)
    size = int(published.split(b"\r\n", 1)[0].rsplit(b" ", 1)[1])
    assert publication("a.b", {"name": "é"}, b"x" * 100, limit=size) == published
    with pytest.raises(MaxPayloadError):
        publication("a.b", {"name": "é"}, b"x" * 100, limit=size - 1)


def test_a_nats_py_without_what_is_private_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, rather than at the first batch."""
    check_nats_py()
    monkeypatch.delattr(Client, "_flush_pending")
    with pytest.raises(ConfigurationError, match=r"nats-py 2\.\d+.* has no Client\._flush_pending"):
        check_nats_py()
