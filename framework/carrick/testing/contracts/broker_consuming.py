"""Shared consumers: each message to one of them, again until it is settled."""

import asyncio
import random
import time

import pytest

from carrick.errors import MessagingError
from carrick.messaging import Consumer, Delivery, Message
from carrick.testing.contracts.broker_site import Scene, SharedScene, fetched, numbers, until_pending

__all__ = ["ConsumingContract"]

ACK_WAIT = 0.3


@pytest.mark.asyncio
class ConsumingContract(SharedScene):
    """What is stored is delivered until it is settled."""

    async def test_messages_come_in_the_order_of_their_publishing(self, scene: Scene) -> None:
        """A stream keeps order over its subjects, and a consumer begins at its beginning."""
        for number in range(30):
            await scene.publish(number, branch="ab"[number % 2])
        deliveries = await fetched(await scene.consume(), 30)
        assert numbers(deliveries) == list(range(30))
        assert [delivery.sequence for delivery in deliveries] == list(range(1, 31))

    async def test_a_delivery_is_what_was_published(self, scene: Scene) -> None:
        """Subject, data and headers arrive; stream and count are filled in; the id is a header."""
        await scene.publish(7)
        (delivery,) = await fetched(await scene.consume(), 1)
        assert delivery.subject == f"{scene.root}.a.p00"
        assert delivery.data == b"7"
        assert delivery.stream == scene.stream
        assert delivery.deliveries == 1
        assert {name: delivery.headers[name] for name in ("ce-id", "ce-source", "Empty", "Nats-Msg-Id")} == {
            "ce-id": "7",
            "ce-source": "caf%C3%A9",
            "Empty": "",
            "Nats-Msg-Id": "a-7",
        }

    async def test_any_bytes_are_data(self, scene: Scene) -> None:
        """Nothing is done to the payload, be it empty or binary."""
        payloads = [b"", bytes(range(256)), b"\r\n", b"x" * 100_000]
        for number, payload in enumerate(payloads):
            subject = f"{scene.root}.a.p00"
            await scene.broker.publish(Message(stream=scene.stream, subject=subject, id=str(number), data=payload))
        assert [delivery.data for delivery in await fetched(await scene.consume(), 4)] == payloads

    async def test_what_is_not_acknowledged_comes_again(self, scene: Scene) -> None:
        """After ``ack_wait`` the message is delivered once more, and says so."""
        await scene.publish(1)
        consumer = await scene.consume(ack_wait=ACK_WAIT, max_in_flight=1)
        await fetched(consumer, 1, ack=False)
        (again,) = await fetched(consumer, 1)
        assert numbers([again]) == [1]
        assert again.deliveries == 2
        await until_pending(consumer)
        assert list(await consumer.fetch(1, ACK_WAIT * 2)) == []

    async def test_a_nak_brings_it_again_at_once(self, scene: Scene) -> None:
        """Handing back does not wait for ``ack_wait``."""
        await scene.publish(1, 2)
        consumer = await scene.consume(max_in_flight=1)
        (first,) = await fetched(consumer, 1, ack=False)
        await first.nak()
        again = await fetched(consumer, 2)
        assert numbers(again) == [1, 2]
        assert [delivery.deliveries for delivery in again] == [2, 1]

    async def test_a_renewal_keeps_the_message(self, scene: Scene) -> None:
        """Who goes on working and says so keeps the message beyond ``ack_wait``."""
        await scene.publish(1)
        consumer = await scene.consume(ack_wait=ACK_WAIT)
        (delivery,) = await fetched(consumer, 1, ack=False)
        for _ in range(6):
            assert list(await consumer.fetch(1, ACK_WAIT / 3)) == []
            await delivery.in_progress()
        await delivery.ack()
        await until_pending(consumer)

    async def test_a_durable_place_survives_its_consumer(self, scene: Scene) -> None:
        """A new consumer of the name goes on where the old one was; what was out comes again."""
        await scene.publish(1, 2, 3)
        first = await scene.consume(ack_wait=ACK_WAIT)
        await fetched(first, 1)
        await fetched(first, 1, ack=False)
        await first.close()
        second = await scene.consume(ack_wait=ACK_WAIT)
        assert sorted(numbers(await fetched(second, 2))) == [2, 3]
        await until_pending(second)

    async def test_names_have_places_of_their_own(self, scene: Scene) -> None:
        """Two names each get everything."""
        await scene.publish(1, 2)
        assert numbers(await fetched(await scene.consume("one"), 2)) == [1, 2]
        assert numbers(await fetched(await scene.consume("two"), 2)) == [1, 2]

    async def test_two_who_share_a_name_share_the_work(self, scene: Scene) -> None:
        """Each message goes to one of them."""
        first, second = await scene.consume(), await scene.consume()
        await scene.publish(*range(20))
        found = await asyncio.gather(fetched(first, 10), fetched(second, 10))
        assert sorted(numbers([*found[0], *found[1]])) == list(range(20))
        await until_pending(first)

    async def test_no_more_are_in_flight_than_allowed(self, scene: Scene) -> None:
        """Over all who share the name, one waits for the one before."""
        await scene.publish(1, 2, 3)
        consumers = [await scene.consume(max_in_flight=1) for _ in range(2)]
        for expected in (1, 2, 3):
            (delivery,) = await fetched(consumers[0], 1, ack=False)
            assert numbers([delivery]) == [expected]
            assert list(await consumers[0].fetch(1, 0.05)) == []
            assert list(await consumers[1].fetch(5, 0.05)) == []
            await delivery.ack()

    async def test_a_fetch_waits_for_a_message(self, scene: Scene) -> None:
        """A message published meanwhile ends the wait."""
        consumer = await scene.consume()
        fetching = asyncio.create_task(fetched(consumer, 1))
        await asyncio.sleep(0.05)
        await scene.publish(1)
        assert numbers(await fetching) == [1]

    async def test_a_fetch_without_messages_is_empty(self, scene: Scene) -> None:
        """No message within the time is no error."""
        assert list(await (await scene.consume()).fetch(1, 0.05)) == []
        assert list(await (await scene.consume()).fetch(5, 0.05)) == []

    async def test_a_cancelled_fetch_loses_nothing(self, scene: Scene) -> None:
        """What was on its way to a fetch that was cancelled comes to the next."""
        consumer = await scene.consume(ack_wait=ACK_WAIT)
        fetching = asyncio.create_task(consumer.fetch(1, 10.0))
        await asyncio.sleep(0.05)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        await scene.publish(1)
        assert numbers(await fetched(consumer, 1)) == [1]
        await until_pending(consumer)

    async def test_filters_choose(self, scene: Scene) -> None:
        """A consumer gets the subjects that match one of its filters; ``*`` is one token."""
        await scene.publish(1, branch="a")
        await scene.publish(2, branch="b")
        await scene.publish(3, branch="c")
        consumer = await scene.consume(filters=[f"{scene.root}.a.*", f"{scene.root}.c.*"])
        assert numbers(await fetched(consumer, 2)) == [1, 3]
        await until_pending(consumer)

    async def test_pending_counts_what_is_not_settled(self, scene: Scene) -> None:
        """Delivered or not, it counts until it is acknowledged."""
        consumer = await scene.consume()
        assert await consumer.pending() == 0
        await scene.publish(1, 2, 3)
        await until_pending(consumer, pending=3)
        deliveries = await fetched(consumer, 2, ack=False)
        assert await consumer.pending() == 3
        await deliveries[1].ack()
        await until_pending(consumer, pending=2)

    async def test_a_delivery_says_when_it_was_stored(self, scene: Scene) -> None:
        """By the broker's clock, which is this machine's in a test."""
        before = time.time()
        await scene.publish(1)
        (delivery,) = await fetched(await scene.consume(), 1)
        assert before - 1 < delivery.stored_at < time.time() + 1

    async def test_a_nak_may_have_a_delay(self, scene: Scene) -> None:
        """It comes again, not before; others pass it meanwhile."""
        consumer = await scene.consume()
        await scene.publish(1, 2)
        first, second = await fetched(consumer, 2, ack=False)
        began = time.monotonic()
        await first.nak(0.4)
        await second.ack()
        (again,) = await fetched(consumer, 1)
        assert (int(again.data), again.deliveries) == (1, 2)
        assert time.monotonic() - began > 0.35

    async def test_a_new_consumer_may_begin_later(self, scene: Scene) -> None:
        """After a sequence; one that is there goes on where it is, whatever is said."""
        await scene.publish(1, 2, 3, 4)
        consumer = await scene.consume(after=2)
        assert numbers(await fetched(consumer, 1)) == [3]
        await until_pending(consumer, 1)
        await consumer.close()
        assert numbers(await fetched(await scene.consume(after=0), 1)) == [4]

    async def test_more_can_be_fetched_than_may_be_in_flight(self, scene: Scene) -> None:
        """Then as many come as may; the rest when they are settled."""
        await scene.publish(*range(7))
        consumer = await scene.consume(max_in_flight=3)
        seen: list[int] = []
        while len(seen) < 7:
            deliveries = await fetched(consumer, min(3, 7 - len(seen)), ack=False)
            assert list(await consumer.fetch(100, 0.05)) == []
            for delivery in deliveries:
                await delivery.ack()
            seen += numbers(deliveries)
        assert seen == list(range(7))

    @pytest.mark.parametrize("ordered", [False, True])
    async def test_no_more_bytes_are_held_than_allowed(self, scene: Scene, ordered: bool) -> None:
        """No more are asked for then, and even what is larger than all that comes, by itself."""
        sizes = [600, 600, 600, 5000, 10, 10]
        for number, size in enumerate(sizes):
            await scene.broker.publish(scene.message(number, data=b"%d" % number * size))
        consumer = await scene.consume(max_bytes=1000, ordered=ordered)
        held: list[Delivery] = []
        for _ in range(20):
            held += await consumer.fetch(100, 0.05)
        assert 1 <= len(held) <= 2
        seen = [len(each.data) for each in held]
        while len(seen) < len(sizes):
            for delivery in held:
                await delivery.ack()
            held = await fetched(consumer, 1, ack=False)
            assert sum(len(each.data) for each in held[:-1]) < 1000
            seen += [len(each.data) for each in held]
        assert seen == sizes

    @pytest.mark.parametrize("ordered", [False, True])
    async def test_closing_ends_a_fetch(self, scene: Scene, ordered: bool) -> None:
        """At once, with an error; a second close does nothing, and a closed consumer says so."""
        consumer = await scene.consume(ordered=ordered)
        fetching = asyncio.create_task(consumer.fetch(1, 20.0))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await consumer.close()
            with pytest.raises(MessagingError):
                await fetching
            await consumer.close()
        with pytest.raises(MessagingError):
            await consumer.fetch(1, 0.1)

    async def test_closing_leaves_to_others_what_was_not_handed_out(self, scene: Scene) -> None:
        """Not after ``ack_wait``, but at once."""
        first = await scene.consume(ack_wait=30.0)
        await scene.publish(*range(50))
        await fetched(first, 1)
        fetching = asyncio.create_task(first.fetch(49, 5.0))
        await asyncio.sleep(0)
        fetching.cancel()
        await asyncio.wait((fetching,))
        await asyncio.sleep(0.1)  # what was asked for has come, for nobody
        if not fetching.cancelled():  # a broker that is near may have answered already
            for delivery in fetching.result():
                await delivery.nak()
        await first.close()
        second = await scene.consume(ack_wait=30.0)
        async with asyncio.timeout(5):
            rest = await fetched(second, 49)
        assert sorted(numbers(rest)) == list(range(1, 50))

    async def test_what_was_acknowledged_before_the_close_is_settled(self, scene: Scene) -> None:
        """The broker has got word of it when the close returns, or soon after."""
        await scene.publish(*range(50))
        first = await scene.consume(ack_wait=1.0)
        await fetched(first, 50)
        await first.close()
        second = await scene.consume(ack_wait=1.0)
        await until_pending(second)
        assert list(await second.fetch(1, 1.2)) == []

    async def test_a_place_that_was_deleted_is_made_again(self, scene: Scene) -> None:
        """The consumer goes on with what the stream has, from where it was to begin."""
        await scene.publish(1, 2, 3)
        consumer = await scene.consume(after=1)
        assert numbers(await fetched(consumer, 1)) == [2]
        await scene.site.delete_consumer(scene.stream, "c")
        await scene.publish(4)
        seen = set(numbers(await fetched(consumer, 2, tolerant=True)))
        while seen < {3, 4}:
            seen |= set(numbers(await fetched(consumer, 1, tolerant=True)))
        assert 1 not in seen

    async def test_groups_are_apart(self, scene: Scene) -> None:
        """Several names get everything each; several of one name share."""
        consumers = {name: [await scene.consume(name) for _ in range(2)] for name in ("one", "two", "three")}
        await scene.append(60)
        for group in consumers.values():
            found = await asyncio.gather(*(fetched(each, 30) for each in group))
            assert sorted(numbers([*found[0], *found[1]])) == list(range(60))
            await until_pending(group[0])

    async def test_each_is_settled_under_stress(self, scene: Scene) -> None:
        """Four who share 2,000 messages and acknowledge, hand back or forget them at random: none is lost."""
        rng = random.Random(7)
        await scene.append(2000)
        consumers = [await scene.consume(ack_wait=0.5, max_in_flight=300) for _ in range(4)]
        acked: set[int] = set()

        async def work(consumer: Consumer) -> None:
            while len(acked) < 2000:
                for delivery in await consumer.fetch(rng.randint(1, 80), 0.1):
                    match rng.random():
                        case chance if chance < 0.8:
                            await delivery.ack()
                            acked.add(int(delivery.data))
                        case chance if chance < 0.9:
                            await delivery.nak(rng.choice((0.0, 0.05)))

        async with asyncio.timeout(60):
            await asyncio.gather(*(work(consumer) for consumer in consumers))
        assert acked == set(range(2000))
        await until_pending(consumers[0])
