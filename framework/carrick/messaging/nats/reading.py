"""What a stream holds: its limits, and its messages, with or without their payload.

The stream's leader says where a subject ends. In between a consumer reads many at once; in a cluster that may lag
behind the leader, so it can only shorten the way. Direct gets would be quicker still, but mirrors answer them too, and
have messages that the stream itself has lost: only subjects' last messages are read so, which may be behind anyway.
"""

import base64
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, Header, RetentionPolicy
from nats.js.errors import APIError, NotFoundError

from carrick.ids import unique_id
from carrick.messaging.contract import Holding, Record, Stored
from carrick.messaging.nats.api import ask, ask_for_many
from carrick.messaging.nats.client import DirectClient
from carrick.messaging.nats.delivery import headers_of, place_of
from carrick.messaging.nats.pulling import status_of

__all__ = ["holding", "latest", "read", "remove", "stored_after"]

_FEW = 4  # messages that are asked for one by one sooner than a consumer is made
_INACTIVE = 30 * 10**9
_TRIES = 3
_NO_MESSAGE = (10037, 10043)
_GONE = (*_NO_MESSAGE, 10057)
_NOTHING, _ALL = 404, 204
_ADDED = ("Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence")


async def stored_after(
    client: DirectClient, stream: str, subject: str, sequence: int, most: int, timeout: float
) -> Sequence[Stored]:
    """Return the first ``most`` messages of a subject after a sequence. Raises nats-py's errors."""
    found = await _after(client, stream, subject, sequence, most, timeout, headers_only=True)
    return [Stored(each.sequence, each.headers.get(Header.MSG_ID.value, "")) for each in found]


async def read(
    client: DirectClient, stream: str, pattern: str, sequence: int, most: int, timeout: float
) -> Sequence[Record]:
    """Return the first ``most`` messages that match, after a sequence. Raises nats-py's errors."""
    return await _after(client, stream, pattern, sequence, most, timeout, headers_only=False)


async def latest(client: DirectClient, stream: str, pattern: str, timeout: float) -> Sequence[Record]:
    """Return the last message of each subject that matches. Raises nats-py's errors.

    One direct request where the stream allows that, and not more subjects match than are answered so (1,024).
    """
    found = await _latest_directly(client, stream, pattern, timeout)
    for _ in range(_TRIES):
        if found is not None:
            return sorted(found, key=lambda each: each.sequence)
        start = {"deliver_policy": "last_per_subject"}
        found, complete = await _consumed(client, stream, pattern, start, None, timeout)
        if not complete:
            found = None
    raise NatsTimeoutError


async def remove(client: DirectClient, stream: str, sequence: int, timeout: float) -> bool:
    """Remove a message; say whether it was there. Raises nats-py's errors."""
    try:
        await ask(client, f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True}, timeout)
    except APIError as error:
        if error.err_code not in _GONE:
            raise
        return False
    return True


async def _after(
    client: DirectClient,
    stream: str,
    pattern: str,
    sequence: int,
    most: int,
    timeout: float,
    *,
    headers_only: bool,
) -> list[Record]:
    found: list[Record] = []
    one_by_one = False
    while len(found) < most:
        record = await _first_after(client, stream, pattern, sequence, timeout)
        if record is None:
            break
        sequence = record.sequence
        found.append(record)
        if _FEW <= len(found) < most and not one_by_one:
            start = {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence + 1, "headers_only": headers_only}
            try:
                more, _ = await _consumed(client, stream, pattern, start, most - len(found), timeout)
            except APIError:  # no more consumers are allowed here
                more = []
            one_by_one = not more
            found += more
            sequence = found[-1].sequence
    return found


async def _first_after(client: DirectClient, stream: str, pattern: str, sequence: int, timeout: float) -> Record | None:
    """Ask the stream's leader for one message."""
    request = {"seq": sequence + 1, "next_by_subj": pattern}
    try:
        message = (await ask(client, f"STREAM.MSG.GET.{stream}", request, timeout))["message"]
    except NotFoundError as error:
        if error.err_code not in _NO_MESSAGE:
            raise
        return None
    return Record(
        subject=message["subject"],
        sequence=message["seq"],
        data=base64.b64decode(message.get("data", "")),
        headers=headers_of(base64.b64decode(message["hdrs"]) if "hdrs" in message else None),
        stored_at=_seconds(message["time"]),
    )


async def _consumed(
    client: DirectClient, stream: str, pattern: str, start: dict[str, Any], most: int | None, timeout: float
) -> tuple[list[Record], bool]:
    """Read on with a consumer, as far as that comes: its word is not the last. Say whether nothing got lost."""
    name = f"carrick-{unique_id()}"
    config = {
        **start,
        "name": name,
        "ack_policy": "none",
        "filter_subject": pattern,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": _INACTIVE,
    }
    made = await ask(client, f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}, timeout)
    count: int = made["num_pending"] if most is None else min(most, made["num_pending"])
    try:
        return await _next(client, stream, name, count, timeout) if count else ([], True)
    finally:
        with suppress(NatsError, TimeoutError):  # the server removes it by itself
            await ask(client, f"CONSUMER.DELETE.{stream}.{name}", None, timeout)


async def _next(
    client: DirectClient, stream: str, consumer: str, count: int, timeout: float
) -> tuple[list[Record], bool]:
    """Take a consumer's next messages, all in one request; nats-py's ``fetch`` waits for each of them by itself."""
    found: list[Record] = []

    def came(subject: bytes, reply: bytes, data: bytes, block: bytes | None) -> bool:
        if not reply:  # there are no more
            return True
        _, sequence, number, time, _ = place_of(reply)
        if number != len(found) + 1:  # one got lost on the way
            return True
        found.append(
            Record(
                subject=subject.decode(), sequence=sequence, data=data, headers=headers_of(block), stored_at=time / 1e9
            )
        )
        return len(found) == count

    request = {"batch": count, "no_wait": True}
    await ask_for_many(client, f"CONSUMER.MSG.NEXT.{stream}.{consumer}", request, came, timeout)
    return found, len(found) == count


async def _latest_directly(client: DirectClient, stream: str, pattern: str, timeout: float) -> list[Record] | None:
    """Return None where it can't be read so."""
    found: list[Record] = []
    request: dict[str, Any] = {"multi_last": [pattern]}
    while True:
        ends: list[tuple[int, dict[str, str]]] = []

        def came(subject: bytes, reply: bytes, data: bytes, block: bytes | None) -> bool:
            code, headers = status_of(block)[0], headers_of(block)
            if code:
                ends.append((code, headers))  # noqa: B023  # it is called before the next round
                return True
            found.append(_direct(headers, data))
            return False

        before = len(found)
        await ask_for_many(client, f"DIRECT.GET.{stream}", request, came, timeout)
        code, headers = ends[0]
        if code == _NOTHING and not before:
            return []
        if code != _ALL:
            return None
        if int(headers["Nats-Num-Pending"]) == 0:
            return found
        if len(found) == before:
            return None
        request |= {"seq": found[-1].sequence + 1, "up_to_seq": int(headers["Nats-UpTo-Sequence"])}


def _direct(headers: dict[str, str], data: bytes) -> Record:
    """Return a message of a direct answer, which has its place in headers that were added to its own."""
    return Record(
        subject=headers["Nats-Subject"],
        sequence=int(headers["Nats-Sequence"]),
        data=data,
        headers={name: value for name, value in headers.items() if name not in _ADDED},
        stored_at=_seconds(headers["Nats-Time-Stamp"]),
    )


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


async def holding(jetstream: JetStreamContext, stream: str) -> Holding | None:
    """Return what a stream holds, or None when there is none of that name. Raises nats-py's errors."""
    try:
        info = await jetstream.stream_info(stream)
    except NotFoundError:
        return None
    config, state = info.config, info.state
    discards_new = config.discard == DiscardPolicy.NEW
    of_a_subject = config.max_msgs_per_subject > 0 and not (discards_new and config.discard_new_per_subject)
    of_all = not discards_new and ((config.max_msgs or 0) > 0 or (config.max_bytes or 0) > 0)
    return Holding(
        messages=state.messages,
        max_age=config.max_age or None,
        limited=bool(config.max_age) or of_a_subject or of_all,
        consuming=config.retention not in (None, RetentionPolicy.LIMITS),
        removed=state.first_seq > max(config.first_seq or 1, 1) or bool(state.num_deleted),
        last=state.last_seq,
        made_at=info.created.timestamp() if info.created else 0.0,
    )
