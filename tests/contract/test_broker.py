"""What every broker must do: one suite, run against the broker in memory and against real NATS, old and new."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from carrick.errors import Code, MessagingError
from carrick.ids import random_id
from carrick.messaging import MAX_BATCH, Broker, Consumer, Delivery, Holding, Message, Stored
from carrick.messaging.nats import NatsBroker
from carrick.testing import MemoryBroker, NatsServer
from tests.older import NATS_SERVER
from tests.unit.testing.programs import until

ACK_WAIT = 0.3


@dataclass
class Site:
    """A broker, an empty stream on it, and a switch for the whole."""

    broker: Broker
    go_away: Callable[[], None]
    come_back: Callable[[], None]
    batches: bool = True
    """Whether more than a few are stored as a whole."""
    root: str = field(default_factory=lambda: f"t{random_id()[:12]}")

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return self.root.upper()

    async def publish(self, *numbers: int, branch: str = "a") -> None:
        """Publish one message a number."""
        for number in numbers:
            await self.broker.publish(self.message(number, branch))

    def message(self, number: int, branch: str = "a", *, msg_id: str | None = None) -> Message:
        """Make a message with its number as its data."""
        return Message(
            stream=self.stream,
            subject=f"{self.root}.{branch}.p00",
            id=msg_id or f"{branch}-{number}",
            data=str(number).encode(),
            headers={"ce-id": f"{number}", "ce-source": "caf%C3%A9", "Empty": ""},
        )

    async def consume(
        self, name: str = "c", *, filters: Sequence[str] = (), ack_wait: float = 30.0, max_in_flight: int = 100
    ) -> Consumer:
        """Consume the stream."""
        return await self.broker.consume(
            self.stream, name, filters or [f"{self.root}.>"], ack_wait=ack_wait, max_in_flight=max_in_flight
        )


@pytest.fixture(scope="module")
def _older_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with NatsServer(tmp_path_factory.mktemp("older"), sync_always=False, binary=NATS_SERVER) as server:
        yield server.url


@pytest.fixture(params=["memory", "nats", "nats before batches"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """Each broker in turn, with a stream."""
    if request.param == "memory":
        memory = MemoryBroker()
        site = Site(memory, lambda: setattr(memory, "available", False), lambda: setattr(memory, "available", True))
        await memory.ensure_stream(site.stream, [f"{site.root}.>"])
        yield site
        return
    url: str = request.getfixturevalue("nats_url" if request.param == "nats" else "_older_url")
    async with NatsBroker(url, name="contract") as broker:
        site = Site(broker, lambda: None, lambda: None, batches=request.param == "nats")
        await broker.ensure_stream(site.stream, [f"{site.root}.>"])
        yield site


@pytest.fixture(params=["memory", "nats"])
async def fragile_site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """Each broker in turn, to be taken away and brought back."""
    if request.param == "memory":
        memory = MemoryBroker()
        site = Site(memory, lambda: setattr(memory, "available", False), lambda: setattr(memory, "available", True))
        await memory.ensure_stream(site.stream, [f"{site.root}.>"])
        yield site
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    async with NatsBroker(server.url, name="contract", publish_timeout=0.5) as broker:
        site = Site(broker, server.kill, server.start)
        await broker.ensure_stream(site.stream, [f"{site.root}.>"])
        yield site


async def _fetch(consumer: Consumer, count: int, *, ack: bool = True) -> list[Delivery]:
    """Fetch until there are ``count``, and acknowledge each as it comes."""
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            for delivery in await consumer.fetch(count - len(found), 0.2):
                found.append(delivery)
                if ack:
                    await delivery.ack()
    return found


def _numbers(deliveries: Sequence[Delivery]) -> list[int]:
    return [int(delivery.data) for delivery in deliveries]


async def _settled(consumer: Consumer, pending: int = 0) -> None:
    """Wait until the broker has got word of the acknowledgements."""

    async def reached() -> bool:
        return await consumer.pending() == pending

    await until(reached)


async def test_messages_come_in_the_order_of_their_publishing(site: Site) -> None:
    """A stream keeps order over its subjects, and a consumer begins at its beginning."""
    for number in range(30):
        await site.publish(number, branch="ab"[number % 2])
    deliveries = await _fetch(await site.consume(), 30)
    assert _numbers(deliveries) == list(range(30))
    assert [delivery.sequence for delivery in deliveries] == list(range(1, 31))


async def test_a_delivery_is_what_was_published(site: Site) -> None:
    """Subject, data and headers arrive; stream and count are filled in; the id is a header."""
    await site.publish(7)
    (delivery,) = await _fetch(await site.consume(), 1)
    assert delivery.subject == f"{site.root}.a.p00"
    assert delivery.data == b"7"
    assert delivery.stream == site.stream
    assert delivery.deliveries == 1
    assert {name: delivery.headers[name] for name in ("ce-id", "ce-source", "Empty", "Nats-Msg-Id")} == {
        "ce-id": "7",
        "ce-source": "caf%C3%A9",
        "Empty": "",
        "Nats-Msg-Id": "a-7",
    }


async def test_any_bytes_are_data(site: Site) -> None:
    """Nothing is done to the payload, be it empty or binary."""
    payloads = [b"", bytes(range(256)), b"\r\n", b"x" * 100_000]
    for number, payload in enumerate(payloads):
        subject = f"{site.root}.a.p00"
        await site.broker.publish(Message(stream=site.stream, subject=subject, id=str(number), data=payload))
    assert [delivery.data for delivery in await _fetch(await site.consume(), 4)] == payloads


async def test_what_is_not_acknowledged_comes_again(site: Site) -> None:
    """After ``ack_wait`` the message is delivered once more, and says so."""
    await site.publish(1)
    consumer = await site.consume(ack_wait=ACK_WAIT)
    await _fetch(consumer, 1, ack=False)
    (again,) = await _fetch(consumer, 1)
    assert _numbers([again]) == [1]
    assert again.deliveries == 2
    await _settled(consumer)
    assert list(await consumer.fetch(1, ACK_WAIT * 2)) == []


async def test_a_nak_brings_it_again_at_once(site: Site) -> None:
    """Handing back does not wait for ``ack_wait``."""
    await site.publish(1, 2)
    consumer = await site.consume(max_in_flight=1)
    (first,) = await _fetch(consumer, 1, ack=False)
    await first.nak()
    again = await _fetch(consumer, 2)
    assert _numbers(again) == [1, 2]
    assert [delivery.deliveries for delivery in again] == [2, 1]


async def test_a_renewal_keeps_the_message(site: Site) -> None:
    """Who goes on working and says so keeps the message beyond ``ack_wait``."""
    await site.publish(1)
    consumer = await site.consume(ack_wait=ACK_WAIT)
    (delivery,) = await _fetch(consumer, 1, ack=False)
    for _ in range(6):
        assert list(await consumer.fetch(1, ACK_WAIT / 3)) == []
        await delivery.in_progress()
    await delivery.ack()
    await _settled(consumer)


async def test_an_id_is_stored_once(site: Site) -> None:
    """A repeated publish succeeds and stores nothing, whatever it brings; other ids are others."""
    await site.broker.publish(site.message(1, msg_id="same"))
    await site.broker.publish(site.message(2, msg_id="same"))
    await site.broker.publish(site.message(3, branch="b", msg_id="same"))
    await site.broker.publish(site.message(4, msg_id="other"))
    consumer = await site.consume()
    assert _numbers(await _fetch(consumer, 2)) == [1, 4]
    await _settled(consumer)


def _messages(site: Site, *numbers: int, branches: str = "a") -> list[Message]:
    return [site.message(number, branches[number % len(branches)]) for number in numbers]


def _subjects(site: Site, branches: str) -> list[str]:
    return [f"{site.root}.{branch}.p00" for branch in branches]


@pytest.mark.parametrize("count", [1, 3, 60, MAX_BATCH])
async def test_what_is_appended_is_stored_in_order(site: Site, count: int) -> None:
    """Over all subjects; the broker says where each of them has come to."""
    messages = _messages(site, *range(count), branches="ab")
    last = await site.broker.append(messages, dict.fromkeys(_subjects(site, "ab"), 0))
    expected = {message.subject: sequence for sequence, message in enumerate(messages, start=1)}
    assert last == expected
    assert {subject: await site.broker.last(site.stream, subject) for subject in expected} == expected
    assert _numbers(await _fetch(await site.consume(), count)) == list(range(count))


@pytest.mark.parametrize("count", [1, 3, 60])
async def test_nothing_is_appended_to_a_subject_that_has_gone_on(site: Site, count: int) -> None:
    """Another sender's message there: nothing is stored behind it, nor of what else is in the batch."""
    first, second = _subjects(site, "ab")
    await site.publish(1000, branch="b")
    messages = _messages(site, *range(count), branches="b") if count == 1 else _messages(site, *range(count))[:-1]
    if count > 1:
        messages.append(site.message(count, "b"))
    with pytest.raises(MessagingError) as raised:
        await site.broker.append(messages, {first: 0, second: 0})
    assert raised.value.code is Code.ABORTED
    stored = await site.broker.last(site.stream, first)
    as_a_whole = site.batches and count != 3  # what goes one by one is there as far as it came
    assert stored in ((0,) if as_a_whole else (0, count))
    assert await site.broker.last(site.stream, second) == 1


@pytest.mark.parametrize("count", [1, 60])
async def test_the_same_is_not_appended_twice(site: Site, count: int) -> None:
    """A sender that did not hear of its first try, or woke up late, changes nothing, whatever it expects."""
    (subject,) = _subjects(site, "a")
    messages = _messages(site, *range(count))
    last = await site.broker.append(messages, {subject: 0})
    for expected in ({subject: 0}, last):
        with pytest.raises(MessagingError) as raised:
            await site.broker.append(messages, expected)
        assert raised.value.code is Code.ABORTED
    assert await site.broker.last(site.stream, subject) == count


async def test_what_was_stored_after_a_sequence_can_be_read(site: Site) -> None:
    """Ids and places of one subject, oldest first, no more than asked for."""
    (subject,) = _subjects(site, "a")
    await site.publish(0)
    await site.publish(1, branch="b")
    await site.publish(2, 3)
    assert await site.broker.stored_after(site.stream, subject, 0, 10) == [
        Stored(1, "a-0"),
        Stored(3, "a-2"),
        Stored(4, "a-3"),
    ]
    assert await site.broker.stored_after(site.stream, subject, 1, 1) == [Stored(3, "a-2")]
    assert await site.broker.stored_after(site.stream, subject, 4, 10) == []
    assert await site.broker.stored_after(site.stream, f"{site.root}.none.p00", 0, 10) == []
    assert await site.broker.last(site.stream, f"{site.root}.none.p00") == 0


@pytest.mark.parametrize("most", [1, 4, 5, 7, 40, 41, 1000])
async def test_many_can_be_read_at_once(site: Site, most: int) -> None:
    """However many are asked for, it is the first ones after the sequence, without those of other subjects."""
    (subject,) = _subjects(site, "a")
    for number in range(40):
        await site.publish(number)
        await site.publish(number, branch="b")
    expected = [Stored(2 * number + 1, f"a-{number}") for number in range(40)]
    assert await site.broker.stored_after(site.stream, subject, 0, most) == expected[:most]
    assert await site.broker.stored_after(site.stream, subject, 10, most) == expected[5:][:most]
    assert await site.broker.stored_after(site.stream, subject, 79, most) == []


async def test_a_stream_says_how_much_it_holds(site: Site) -> None:
    """Of a stream without limits nothing is removed; a stream that is not there is no error."""
    await site.publish(*range(3))
    assert await site.broker.holding(site.stream) == Holding(messages=3)
    assert await site.broker.holding("MISSING") is None


@pytest.mark.parametrize("count", [1, 60])
async def test_a_subject_that_no_stream_takes_is_refused_for_good(site: Site, count: int) -> None:
    """That is no outage: trying again would not help."""
    messages = [Message(stream=site.stream, subject="nowhere.a.p00", id=str(each), data=b"") for each in range(count)]
    with pytest.raises(MessagingError) as raised:
        await site.broker.append(messages, {"nowhere.a.p00": 0})
    assert raised.value.code is Code.NOT_FOUND


async def test_a_durable_place_survives_its_consumer(site: Site) -> None:
    """A new consumer of the name goes on where the old one was; what was out comes again."""
    await site.publish(1, 2, 3)
    first = await site.consume(ack_wait=ACK_WAIT)
    await _fetch(first, 1)
    await _fetch(first, 1, ack=False)
    await first.close()
    second = await site.consume(ack_wait=ACK_WAIT)
    assert sorted(_numbers(await _fetch(second, 2))) == [2, 3]
    await _settled(second)


async def test_names_have_places_of_their_own(site: Site) -> None:
    """Two names each get everything."""
    await site.publish(1, 2)
    assert _numbers(await _fetch(await site.consume("one"), 2)) == [1, 2]
    assert _numbers(await _fetch(await site.consume("two"), 2)) == [1, 2]


async def test_two_who_share_a_name_share_the_work(site: Site) -> None:
    """Each message goes to one of them."""
    first, second = await site.consume(), await site.consume()
    await site.publish(*range(20))
    found = await asyncio.gather(_fetch(first, 10), _fetch(second, 10))
    assert sorted(_numbers([*found[0], *found[1]])) == list(range(20))
    await _settled(first)


async def test_no_more_are_in_flight_than_allowed(site: Site) -> None:
    """Over all who share the name, one waits for the one before."""
    await site.publish(1, 2, 3)
    consumers = [await site.consume(max_in_flight=1) for _ in range(2)]
    for expected in (1, 2, 3):
        (delivery,) = await _fetch(consumers[0], 1, ack=False)
        assert _numbers([delivery]) == [expected]
        assert list(await consumers[0].fetch(1, 0.05)) == []
        assert list(await consumers[1].fetch(5, 0.05)) == []
        await delivery.ack()


async def test_a_fetch_waits_for_a_message(site: Site) -> None:
    """A message published meanwhile ends the wait."""
    consumer = await site.consume()
    fetching = asyncio.create_task(_fetch(consumer, 1))
    await asyncio.sleep(0.05)
    await site.publish(1)
    assert _numbers(await fetching) == [1]


async def test_a_fetch_without_messages_is_empty(site: Site) -> None:
    """No message within the time is no error."""
    assert list(await (await site.consume()).fetch(1, 0.05)) == []
    assert list(await (await site.consume()).fetch(5, 0.05)) == []


async def test_a_cancelled_fetch_loses_nothing(site: Site) -> None:
    """What was on its way to a fetch that was cancelled comes to the next."""
    consumer = await site.consume(ack_wait=ACK_WAIT)
    fetching = asyncio.create_task(consumer.fetch(1, 10.0))
    await asyncio.sleep(0.05)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await site.publish(1)
    assert _numbers(await _fetch(consumer, 1)) == [1]
    await _settled(consumer)


async def test_filters_choose(site: Site) -> None:
    """A consumer gets the subjects that match one of its filters; ``*`` is one token."""
    await site.publish(1, branch="a")
    await site.publish(2, branch="b")
    await site.publish(3, branch="c")
    consumer = await site.consume(filters=[f"{site.root}.a.*", f"{site.root}.c.*"])
    assert _numbers(await _fetch(consumer, 2)) == [1, 3]
    await _settled(consumer)


async def test_pending_counts_what_is_not_settled(site: Site) -> None:
    """Delivered or not, it counts until it is acknowledged."""
    consumer = await site.consume()
    assert await consumer.pending() == 0
    await site.publish(1, 2, 3)
    await _settled(consumer, pending=3)
    deliveries = await _fetch(consumer, 2, ack=False)
    assert await consumer.pending() == 3
    await deliveries[1].ack()
    await _settled(consumer, pending=2)


async def test_ensuring_a_stream_twice_is_fine(site: Site) -> None:
    """The stream and what it holds stay."""
    await site.publish(1)
    await site.broker.ensure_stream(site.stream, [f"{site.root}.>"])
    assert _numbers(await _fetch(await site.consume(), 1)) == [1]


async def test_a_stream_without_the_subjects_is_refused(site: Site) -> None:
    """A stream that somebody made otherwise is not changed behind their back: the missing subjects are named."""
    with pytest.raises(MessagingError, match=rf"stream {site.stream} .*lacks .*'more\.{site.root}\.>'"):
        await site.broker.ensure_stream(site.stream, [f"{site.root}.>", f"more.{site.root}.>"])


async def test_a_subject_of_no_stream_is_refused(site: Site) -> None:
    """A message that nobody would store raises; it does not vanish."""
    with pytest.raises(MessagingError):
        await site.broker.publish(Message(stream=site.stream, subject="nowhere.a", id="1", data=b""))


async def test_a_missing_stream_is_refused(site: Site) -> None:
    """Neither publishing to it nor consuming from it works."""
    with pytest.raises(MessagingError):
        await site.broker.publish(Message(stream="MISSING", subject="nowhere.a", id="1", data=b""))
    with pytest.raises(MessagingError):
        await site.broker.consume("MISSING", "c", ["nowhere.>"], ack_wait=1.0, max_in_flight=1)


async def test_an_outage_raises_and_passes(fragile_site: Site) -> None:
    """While the broker is away everything raises ``MessagingError``; then nothing published is missing.

    A broker that crashes may forget that a message was acknowledged.
    """
    site = fragile_site
    consumer = await site.consume(ack_wait=ACK_WAIT)
    await site.publish(1, 2)
    (first, second) = await _fetch(consumer, 2, ack=False)
    await first.ack()
    await _settled(consumer, pending=1)
    site.go_away()
    with pytest.raises(MessagingError):
        await site.publish(3)
    for failing in (second.ack, second.nak, second.in_progress, consumer.pending):
        with pytest.raises(MessagingError):
            await failing()
    with pytest.raises(MessagingError):
        await site.consume("other")
    with pytest.raises(MessagingError):
        await site.broker.ensure_stream("OTHER", ["other.>"])
    site.come_back()
    async with asyncio.timeout(20):
        while True:
            try:
                await site.publish(4)
                break
            except MessagingError:
                await asyncio.sleep(0.02)
    seen: set[int] = set()
    async with asyncio.timeout(20):
        while not seen >= {2, 4}:
            seen |= set(_numbers(await _fetch(consumer, 1)))
    await _settled(consumer)
    assert 3 not in seen
