"""What gets lost between a consumer and NATS, and what others do to it there."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import nats
import pytest

from carrick.errors import MessagingError
from carrick.ids import random_id
from carrick.messaging import Consumer, Delivery, Message
from carrick.messaging.nats import NatsBroker
from carrick.messaging.nats.consumer import NatsConsumer
from carrick.testing import NatsServer
from tests.unit.testing.programs import until


class _Stream:
    """A stream of a test's own."""

    def __init__(self, broker: NatsBroker, url: str) -> None:
        self.broker = broker
        self.url = url
        self.name = f"T{random_id()[:12]}"

    async def publish(self, count: int) -> None:
        """Append messages with the numbers from 0."""
        messages = [
            Message(stream=self.name, subject=f"{self.name}.a.p00", id=str(number), data=b"%d" % number)
            for number in range(count)
        ]
        await self.broker.append(messages, {f"{self.name}.a.p00": 0})

    async def consume(self, **options: Any) -> Consumer:
        """Consume all."""
        settings: dict[str, Any] = {"ack_wait": 30.0, "max_in_flight": 100, "ordered": True, **options}
        return await self.broker.consume(self.name, "c", [f"{self.name}.>"], **settings)


@pytest.fixture
async def stream(nats_url: str) -> AsyncIterator[_Stream]:
    """An empty stream on the session's server."""
    async with NatsBroker(nats_url, name="t") as broker:
        stream = _Stream(broker, nats_url)
        await broker.ensure_stream(stream.name, [f"{stream.name}.>"])
        yield stream


async def _fetched(consumer: Consumer, count: int, *, ack: bool = True) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            for delivery in await consumer.fetch(count - len(found), 0.2):
                found.append(delivery)
                if ack:
                    await delivery.ack()
    return found


def _numbers(deliveries: Sequence[Delivery]) -> list[int]:
    return [int(each.data) for each in deliveries]


async def _until_settled(consumer: Consumer) -> None:
    async def settled() -> bool:
        assert list(await consumer.fetch(10, 0.02)) == []
        return await consumer.pending() == 0

    await until(settled)


def _lose(broker: NatsBroker, lost: Callable[[bytes], bool]) -> None:
    """Lose some of what is posted to the server."""
    post = broker._connection.link.post

    def losing(line: bytes, what: str) -> None:
        if not lost(line):
            post(line, what)

    broker._connection.link.post = losing  # type: ignore[method-assign]


def _lose_deliveries(consumer: Consumer, lost: Callable[[bytes], bool]) -> None:
    """Lose some of what the server delivers."""
    assert isinstance(consumer, NatsConsumer)
    client = consumer._link.client
    assert client is not None
    for sid, listener in list(client._listeners.items()):

        def losing(subject: bytes, reply: bytes, data: bytes, block: bytes | None, listener: Any = listener) -> None:
            if not (reply and lost(data)):
                listener(subject, reply, data, block)

        client._listeners[sid] = losing


async def test_lost_acknowledgements_are_said_again(stream: _Stream) -> None:
    """An ordered consumer knows what was settled: the broker hears it when it delivers that again."""
    consumer = await stream.consume(ack_wait=0.5)
    await stream.publish(20)
    rng = random.Random(1)
    _lose(stream.broker, lambda line: line.startswith(b"PUB $JS.ACK") and rng.random() < 0.5)
    assert _numbers(await _fetched(consumer, 20)) == list(range(20))
    await _until_settled(consumer)


async def test_a_shared_consumer_is_delivered_again_what_the_broker_does_not_know_of(stream: _Stream) -> None:
    """That is all it can do when an acknowledgement was lost."""
    consumer = await stream.consume(ordered=False, ack_wait=0.5)
    await stream.publish(3)
    lost = [b".1.1.", b".2.2."]
    _lose(stream.broker, lambda line: line.startswith(b"PUB $JS.ACK") and any(each in line for each in lost))
    await _fetched(consumer, 3)
    lost.clear()
    assert sorted(_numbers(await _fetched(consumer, 2))) == [0, 1]
    await until(lambda: _is_settled(consumer))


async def _is_settled(consumer: Consumer) -> bool:
    return await consumer.pending() == 0


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_lost_request_is_forgotten(stream: _Stream, ordered: bool) -> None:
    """When it must have ended, others are made; nothing waits for ever for what will not come."""
    consumer = await stream.consume(ordered=ordered)
    await stream.publish(5)
    requests = list[bytes]()

    def lost(line: bytes) -> bool:
        if line.startswith(b"PUB $JS.API.CONSUMER.MSG.NEXT"):
            requests.append(line)
        return len(requests) == 1

    _lose(stream.broker, lost)
    assert list(await consumer.fetch(5, 0.1)) == []
    assert _numbers(await _fetched(consumer, 5)) == list(range(5))


@pytest.mark.parametrize("max_in_flight", [5, 100])
async def test_what_is_lost_on_the_way_comes_in_its_place(stream: _Stream, max_in_flight: int) -> None:
    """At once when something comes after it, otherwise after ``ack_wait``; also when no more may be in flight."""
    consumer = await stream.consume(ack_wait=0.5, max_in_flight=max_in_flight)
    await stream.publish(60)
    rng, lost = random.Random(2), set[bytes]()

    def lose(data: bytes) -> bool:
        again = data in lost
        lost.add(data)
        return not again and rng.random() < 0.3

    _lose_deliveries(consumer, lose)
    assert _numbers(await _fetched(consumer, 60)) == list(range(60))
    await _until_settled(consumer)


async def test_nothing_comes_twice_to_a_shared_consumer_that_was_slow_to_fetch(stream: _Stream) -> None:
    """What waited here beyond ``ack_wait`` is another's by then."""
    first = await stream.consume(ordered=False, ack_wait=0.5)
    await stream.publish(10)
    held = list(await first.fetch(1, 1.0))
    fetching = asyncio.create_task(first.fetch(9, 5.0))
    await asyncio.sleep(0)
    fetching.cancel()
    await asyncio.wait((fetching,))
    await asyncio.sleep(0.7)
    second = await stream.consume(ordered=False, ack_wait=30.0)
    others = await _fetched(second, 10, ack=False)
    assert sorted(_numbers(others)) == list(range(10))
    assert list(await first.fetch(10, 0.05)) == []
    assert len(held) == 1


async def test_what_others_have_set_stays(stream: _Stream) -> None:
    """A pause, or a description, outlives who consumes; what this program asks for is changed."""
    await stream.consume()
    await stream.broker.pause(stream.name, "c", 4e9)
    again = await stream.consume(max_in_flight=7)
    place = await stream.broker.place(stream.name, "c")
    assert place is not None
    assert place.paused
    client = await nats.connect(stream.url)
    info = await client.jetstream().consumer_info(stream.name, "c")
    await client.close()
    assert info.config.max_ack_pending == 7
    await again.close()


async def test_the_latest_are_read_where_direct_gets_are_not_allowed(stream: _Stream) -> None:
    """Or where a server does not know them."""
    name = f"{stream.name}X"
    client = await nats.connect(stream.url)
    try:
        await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
        for number in range(10):
            await client.jetstream().publish(f"{name}.{number % 3}", b"%d" % number)
        found = await stream.broker.latest(name, f"{name}.*")
        assert [(each.sequence, each.data) for each in found] == [(8, b"7"), (9, b"8"), (10, b"9")]
        assert await client.jetstream().consumers_info(name) == []
    finally:
        await client.close()


async def test_a_consumer_goes_on_with_another_connection(nats_server: NatsServer) -> None:
    """Some errors of a server end nats-py's client for good; what is held is settled over the next."""
    async with NatsBroker(nats_server.url, name="t", startup_timeout=0.5) as broker:
        stream = _Stream(broker, nats_server.url)
        await broker.ensure_stream(stream.name, [f"{stream.name}.>"])
        await stream.publish(10)
        consumer = await stream.consume()
        held = await _fetched(consumer, 5, ack=False)
        ended = broker._connection.client
        assert ended is not None
        await ended.close()
        with pytest.raises(MessagingError):
            await consumer.fetch(1, 5.0)
        await until(lambda: broker._connection.client is not ended)
        rest = await _fetched(consumer, 5, ack=False)
        assert _numbers([*held, *rest]) == list(range(10))
        for delivery in (*held, *rest):
            await delivery.ack()
        await _until_settled(consumer)


async def test_closing_the_broker_ends_a_fetch(nats_server: NatsServer) -> None:
    """At once, with an error."""
    broker = NatsBroker(nats_server.url, name="t")
    await broker.open()
    stream = _Stream(broker, nats_server.url)
    await broker.ensure_stream(stream.name, [f"{stream.name}.>"])
    fetching = asyncio.create_task((await stream.consume()).fetch(1, 30.0))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await broker.close()
        with pytest.raises(MessagingError, match="not open"):
            await fetching
