"""Storing messages only where nothing came before them: one by one, or many in an atomic batch of JetStream's.

An atomic batch is stored, and synced, as a whole before it is acknowledged, so that it beats single messages from a few
on; it needs NATS 2.12 and a stream that allows it. Its first message of each subject says which sequence must be the
last of that subject. Nothing else is needed against a sender who was held up and is late: an identical batch, or a part
of it, is refused once it, or anything after it, is stored.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from nats.aio.client import Client
from nats.errors import MaxPayloadError
from nats.js.api import Header, PubAck
from nats.js.errors import APIError

from carrick.ids import unique_id
from carrick.messaging.contract import Message
from carrick.messaging.nats.faults import ATOMIC_DISABLED, size_of
from carrick.messaging.nats.wire import publication, send

__all__ = ["append_batch", "append_one_by_one", "atomic_is_disabled", "headers_of"]

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_BATCH, _NUMBER, _COMMIT = "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"


def atomic_is_disabled(error: APIError) -> bool:
    """Say whether a stream takes no batches: it was made so, or by an older server."""
    return error.err_code == ATOMIC_DISABLED


async def append_batch(
    client: Client, messages: Sequence[Message], expected: Mapping[str, int], timeout: float
) -> dict[str, int]:
    """Store all messages or none of them; return the last sequence of each subject. Raises nats-py's errors."""
    batch, seen = unique_id(), set[str]()
    publications = list[bytes]()
    headers: dict[str, str] = {}
    for number, message in enumerate(messages, start=1):
        headers = {**_own_headers(message), _BATCH: batch, _NUMBER: str(number)}
        if message.subject not in seen:  # what is true of a subject is said once
            seen.add(message.subject)
            headers[Header.EXPECTED_STREAM.value] = message.stream
            headers[_EXPECTED] = str(expected[message.subject])
        if number == len(messages):
            headers[_COMMIT] = "1"
        publications.append(publication(message.subject, headers, message.data, limit=client.max_payload))
    await send(client, publications[:-1])
    first = await _acknowledged(client, messages[-1], headers, timeout) - len(messages) + 1
    return {message.subject: first + number for number, message in enumerate(messages)}


async def append_one_by_one(
    client: Client, messages: Sequence[Message], expected: Mapping[str, int], timeout: float
) -> dict[str, int]:
    """Store the messages of each partition one after the other, and the partitions side by side.

    When one fails, those after it in its partition are not sent. Raises the first failure when all have ended.
    """
    last = dict(expected)
    partitions = defaultdict[str, list[Message]](list)
    for message in messages:
        partitions[message.subject.rpartition(".")[2]].append(message)
    ended = await asyncio.gather(
        *(_in_order(client, part, last, timeout) for part in partitions.values()), return_exceptions=True
    )
    _raise_first(ended)
    return {message.subject: last[message.subject] for message in messages}


async def _in_order(client: Client, messages: Iterable[Message], last: dict[str, int], timeout: float) -> None:
    for message in messages:
        headers = {**headers_of(message), _EXPECTED: str(last[message.subject])}
        _check_size(client, message, headers)
        last[message.subject] = await _acknowledged(client, message, headers, timeout)


def _raise_first(ended: Iterable[BaseException | None]) -> None:
    for each in ended:
        if each is not None:
            raise each


def headers_of(message: Message) -> dict[str, str]:
    """Return the headers that a message is published with."""
    return {**_own_headers(message), Header.EXPECTED_STREAM.value: message.stream}


def _own_headers(message: Message) -> dict[str, str]:
    """Return a message's headers with those that say how a stream stores it."""
    headers = {**message.headers, Header.MSG_ID.value: message.id}
    if message.ttl is not None:
        headers["Nats-TTL"] = f"{ceil(message.ttl)}s"
    return headers


def _check_size(client: Client, message: Message, headers: Mapping[str, str]) -> None:
    if size_of(message.data, headers) > client.max_payload:
        raise MaxPayloadError  # nats-py leaves out the headers, and the server would cut the connection


async def _acknowledged(client: Client, message: Message, headers: dict[str, str], timeout: float) -> int:
    """Send a message that is to be acknowledged; return its sequence, or raise what the stream says of it."""
    answer = await client.request(message.subject, message.data, timeout=timeout, headers=headers)
    said = json.loads(answer.data)
    if "error" in said:
        raise APIError.from_error(said["error"])
    ack = PubAck.from_response(said)
    if ack.duplicate:  # its sequence is that of the one before, and others may have come since
        raise APIError(code=400, err_code=10201, description="the id is stored already")
    return ack.seq
