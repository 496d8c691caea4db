"""What a stream holds: its limits, and the ids and places of its messages, without their payload.

The stream's leader says where a subject ends. In between a consumer of headers reads many at once; in a cluster that
may lag behind the leader, so it can only shorten the way. Direct gets would be quicker still, but mirrors answer them
too, and have messages that the stream itself has lost.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, Header, RetentionPolicy
from nats.js.errors import APIError, NotFoundError

from carrick.ids import unique_id
from carrick.messaging.contract import Holding, Stored

__all__ = ["holding", "stored_after"]

_FEW = 4  # messages that are asked for one by one sooner than a consumer is made
_INACTIVE = 30.0


async def stored_after(
    client: Client, stream: str, subject: str, sequence: int, most: int, timeout: float
) -> Sequence[Stored]:
    """Return the first ``most`` messages of a subject after a sequence. Raises nats-py's errors."""
    jetstream = client.jetstream()
    found: list[Stored] = []
    one_by_one = False
    while len(found) < most:
        try:
            message = await jetstream.get_msg(stream, seq=sequence + 1, subject=subject, next=True)
        except NotFoundError:
            break
        sequence = message.seq or 0
        found.append(Stored(sequence, (message.headers or {}).get(Header.MSG_ID.value, "")))
        if _FEW <= len(found) < most and not one_by_one:
            more = await _many_after(client, stream, subject, sequence, most - len(found), timeout)
            one_by_one = not more
            found += more
            sequence = found[-1].sequence
    return found


async def _many_after(
    client: Client, stream: str, subject: str, sequence: int, most: int, timeout: float
) -> list[Stored]:
    """Read on with a consumer, as far as that comes: its word is not the last."""
    jetstream = client.jetstream()
    config = ConsumerConfig(
        name=f"carrick-{unique_id()}",
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=sequence + 1,
        ack_policy=AckPolicy.NONE,
        filter_subject=subject,
        headers_only=True,
        mem_storage=True,
        num_replicas=1,
        inactive_threshold=_INACTIVE,
    )
    try:
        made = await jetstream.add_consumer(stream, config)
    except APIError:  # no more consumers are allowed here
        return []
    try:
        return await _next(client, stream, made.name, min(most, made.num_pending or 0), timeout)
    finally:
        await _remove(jetstream, stream, made.name)


async def _next(client: Client, stream: str, consumer: str, count: int, timeout: float) -> list[Stored]:
    """Take a consumer's next messages, all in one request; nats-py's ``fetch`` waits for each of them by itself."""
    found: list[Stored] = []
    ended = asyncio.Event()

    async def received(message: Msg) -> None:
        headers = message.headers or {}
        if not message.reply or "Status" in headers:  # there are no more
            return ended.set()
        place = message.metadata.sequence
        if place.consumer != len(found) + 1:  # one got lost on the way
            return ended.set()
        found.append(Stored(place.stream, headers.get(Header.MSG_ID.value, "")))
        if len(found) == count:
            ended.set()
        return None

    if count:
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=received)
        try:
            request = json.dumps({"batch": count, "no_wait": True}).encode()
            await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, reply=inbox)
            while not ended.is_set():
                before = len(found)
                try:
                    async with asyncio.timeout(timeout):
                        await ended.wait()
                except TimeoutError:
                    if len(found) == before:
                        raise
        finally:
            with suppress(NatsError):  # gone with its connection
                await subscription.unsubscribe()
    return found[:count]


async def _remove(jetstream: JetStreamContext, stream: str, consumer: str) -> None:
    with suppress(NatsError, TimeoutError):  # the server removes it by itself
        await jetstream.delete_consumer(stream, consumer)


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
    )
