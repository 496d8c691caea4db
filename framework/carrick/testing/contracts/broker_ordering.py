"""Ordered consumers: nothing is handed out before what was stored before it, whatever others do under their name."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from carrick.errors import MessagingError
from carrick.messaging import Consumer, Delivery
from carrick.testing.contracts.broker_site import Scene, SharedScene, fetched, numbers, until, until_pending

__all__ = ["OrderingContract"]

ACK_WAIT = 0.4


class _Ledger:
    """What was settled by anybody, and what each ordered consumer was handed: checks each hand-out."""

    def __init__(self, sequences: Sequence[int]) -> None:
        self.unsettled = set(sequences)
        self._handed: dict[int, set[int]] = {}

    def handed(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> None:
        """Check that nothing unsettled before a delivery was withheld from the same object, nor handed out twice."""
        seen = self._handed.setdefault(id(consumer), set())
        for delivery in deliveries:
            withheld = [each for each in self.unsettled - seen if each < delivery.sequence]
            assert not withheld, f"{delivery.sequence} came before {sorted(withheld)[:5]}"
            assert delivery.sequence not in seen, f"{delivery.sequence} was handed out twice"
            seen.add(delivery.sequence)

    async def settle(self, delivery: Delivery) -> None:
        """Acknowledge."""
        await delivery.ack()
        self.unsettled.discard(delivery.sequence)


@pytest.mark.asyncio
class OrderingContract(SharedScene):
    """An ordered consumer keeps the order of its stream."""

    async def test_everything_comes_in_order(self, scene: Scene) -> None:
        """Over all subjects, however much is fetched at once and whenever it is acknowledged."""
        for number in range(100):
            await scene.publish(number, branch="abc"[number % 3])
        consumer = await scene.consume(ordered=True, max_in_flight=30)
        seen: list[int] = []
        for most in (1, 30, 7, 22, 30, 10):
            deliveries = await fetched(consumer, most, ack=False)
            seen += numbers(deliveries)
            for delivery in reversed(deliveries):
                await delivery.ack()
        assert seen == list(range(100))
        await until_pending(consumer)

    async def test_what_a_dead_one_held_comes_first(self, scene: Scene) -> None:
        """At once, in its order, before all that was never delivered."""
        await scene.publish(*range(6))
        first = await scene.consume(ordered=True, ack_wait=30.0)
        held = await fetched(first, 4, ack=False)
        await held[0].ack()
        await held[2].ack()
        await until_pending(first, 4)
        await scene.publish(6)
        async with asyncio.timeout(10), scene.site.another() as broker:
            second = await scene.consume(ordered=True, ack_wait=30.0, broker=broker)
            seen = list[int]()
            while 6 not in seen:
                seen += numbers(await fetched(second, 1))
            await until_pending(second)
            await second.close()
        assert [number for number in seen if number != 2] == [1, 3, 4, 5, 6]
        assert seen == sorted(seen)

    async def test_it_goes_on_after_those_that_are_settled(self, scene: Scene) -> None:
        """Another object of the name is handed nothing twice when all was settled."""
        await scene.publish(*range(10))
        first = await scene.consume(ordered=True)
        await fetched(first, 10)
        await until_pending(first)
        await first.close()
        second = await scene.consume(ordered=True)
        await scene.publish(10)
        assert numbers(await fetched(second, 1)) == [10]

    async def test_a_new_one_may_begin_later(self, scene: Scene) -> None:
        """After a sequence."""
        await scene.publish(*range(5))
        assert numbers(await fetched(await scene.consume(ordered=True, after=3), 2)) == [3, 4]

    async def test_what_a_thief_holds_comes_here_too(self, scene: Scene) -> None:
        """In its place, at once, although another pulls under the name and does not acknowledge."""
        await scene.publish(*range(30))
        consumer = await scene.consume(ordered=True)
        thief = await scene.consume(ack_wait=30.0)
        seen = numbers(await fetched(consumer, 5))
        await fetched(thief, 7, ack=False)
        async with asyncio.timeout(10):
            seen += numbers(await fetched(consumer, 25))
        assert seen == list(range(30))
        await until_pending(consumer)

    async def test_a_place_deleted_behind_its_back_is_made_again(self, scene: Scene) -> None:
        """With what is held: it can be acknowledged still, and nothing comes twice."""
        await scene.publish(*range(20))
        consumer = await scene.consume(ordered=True)
        held = await fetched(consumer, 10, ack=False)
        for delivery in held[:3]:
            await delivery.ack()
        await scene.site.delete_consumer(scene.stream, "c")
        rest = await fetched(consumer, 10, ack=False, tolerant=True)
        assert numbers([*held, *rest]) == list(range(20))
        for delivery in (*held[3:], *rest):
            await delivery.ack()
        await self._until_settled(consumer)

    async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(self, scene: Scene) -> None:
        """Whatever was held of the old one is nothing to the new one."""
        await scene.publish(*range(5))
        consumer = await scene.consume(ordered=True)
        held = await fetched(consumer, 5, ack=False)
        await scene.site.delete_stream(scene.stream)
        await scene.broker.ensure_stream(scene.stream, [f"{scene.root}.>"])
        for number in range(10, 13):
            await scene.publish(number)
        seen = await fetched(consumer, 3, ack=False, tolerant=True)
        assert numbers(seen) == [10, 11, 12]
        for delivery in held:
            await delivery.ack()
        assert await consumer.pending() == 3
        for delivery in seen:
            await delivery.ack()
        await until_pending(consumer)

    async def test_what_is_held_is_not_handed_out_twice(self, scene: Scene) -> None:
        """The broker delivers it again after ``ack_wait``; the same object is acknowledged."""
        await scene.publish(1, 2)
        consumer = await scene.consume(ordered=True, ack_wait=ACK_WAIT)
        held = await fetched(consumer, 2, ack=False)
        for _ in range(6):
            assert list(await consumer.fetch(5, ACK_WAIT / 2)) == []
        await scene.publish(3)
        assert numbers(await fetched(consumer, 1)) == [3]
        for delivery in held:
            await delivery.ack()
        await self._until_settled(consumer)

    async def test_no_more_are_held_than_allowed(self, scene: Scene) -> None:
        """Not even when the broker delivers again what is held; one comes for each that is settled."""
        await scene.publish(*range(6))
        consumer = await scene.consume(ordered=True, ack_wait=ACK_WAIT, max_in_flight=3)
        held = await fetched(consumer, 3, ack=False)
        assert list(await consumer.fetch(5, ACK_WAIT * 2)) == []
        await held[1].ack()
        held += await fetched(consumer, 1, ack=False)
        assert numbers(held) == [0, 1, 2, 3]
        for delivery in held:
            await delivery.ack()
        assert numbers(await fetched(consumer, 2)) == [4, 5]
        await self._until_settled(consumer)

    async def test_what_was_handed_back_comes_again(self, scene: Scene) -> None:
        """Out of its order, as was asked for, and nothing is lost of it."""
        await scene.publish(1, 2, 3)
        consumer = await scene.consume(ordered=True)
        first, second, third = await fetched(consumer, 3, ack=False)
        await second.ack()
        await first.nak()
        (again,) = await fetched(consumer, 1)
        assert int(again.data) == 1
        await third.ack()
        await self._until_settled(consumer)

    @pytest.mark.parametrize("published_since", [0, 10])
    async def test_one_that_takes_over_is_not_overtaken(self, scene: Scene, published_since: int) -> None:
        """It has as many out as the one before it had: what it holds comes to that one too, if it goes on."""
        await scene.append(20)
        first = await scene.consume(ordered=True)
        held = await fetched(first, 4, ack=False)
        for delivery in held[:3]:
            await delivery.ack()
        await until_pending(first, 17)
        async with scene.site.another() as broker:
            second = await scene.consume(ordered=True, broker=broker)
            assert numbers(await fetched(second, 4, ack=False)) == [3, 4, 5, 6]
            await scene.publish(*range(20, 20 + published_since))
            seen = numbers(await fetched(first, 5, ack=False))
            await second.close()
        assert seen == [4, 5, 6, 7, 8]

    async def test_two_of_a_name_never_overtake_each_other(self, scene: Scene) -> None:
        """They disturb each other; each is handed everything in its order that is not settled."""
        await scene.append(300)
        ledger = _Ledger(range(1, 301))
        async with scene.site.another() as other:
            consumers = [await scene.consume(ordered=True, max_in_flight=50, broker=each) for each in (None, other)]
            await asyncio.gather(*(self._work(consumer, ledger, random.Random(5)) for consumer in consumers))
            await self._until_both_have_settled(consumers)
            for consumer in consumers:
                await consumer.close()

    async def test_order_is_kept_under_stress(self, scene: Scene) -> None:
        """Thefts, deletions, late and forgotten acknowledgements at random: order is kept over all of it."""
        await scene.append(1000)
        ledger = _Ledger(range(1, 1001))
        consumer = await scene.consume(ordered=True, ack_wait=1.0, max_in_flight=100)
        disturbing = asyncio.create_task(self._disturb(scene, random.Random(3)))
        try:
            await self._work(consumer, ledger, random.Random(11))
        finally:
            disturbing.cancel()
            await asyncio.wait((disturbing,))
        await self._until_settled(consumer)

    async def _disturb(self, scene: Scene, rng: random.Random) -> None:
        thief = await scene.consume(ack_wait=1.0, max_in_flight=100)
        while True:
            await asyncio.sleep(rng.uniform(0.0, 0.05))
            try:
                if rng.random() < 0.2:
                    await scene.site.delete_consumer(scene.stream, "c")
                else:
                    await thief.fetch(rng.randint(1, 20), 0.02)
            except (MessagingError, KeyError):
                await asyncio.sleep(0.01)

    async def _work(self, consumer: Consumer, ledger: _Ledger, rng: random.Random) -> None:
        """Take what comes, and settle it at once, later, or when somebody else may have."""
        held: list[Delivery] = []
        async with asyncio.timeout(90):
            while ledger.unsettled:
                try:
                    deliveries = await consumer.fetch(rng.randint(1, 40), 0.1)
                    ledger.handed(consumer, deliveries)
                    held += deliveries
                    rng.shuffle(held)
                    while held and (not deliveries or rng.random() < 0.97):
                        await ledger.settle(held[-1])
                        held.pop()
                except MessagingError:
                    await asyncio.sleep(0.01)

    async def _until_both_have_settled(self, consumers: Sequence[Consumer]) -> None:
        """Wait until the broker knows that all is settled; what it did not hear of comes to either of them."""

        async def settled() -> bool:
            try:
                for consumer in consumers:
                    for delivery in await consumer.fetch(10, 0.02):
                        await delivery.ack()
                return await consumers[0].pending() == 0
            except MessagingError:
                return False

        await until(settled)

    async def _until_settled(self, consumer: Consumer) -> None:
        """Wait until the broker knows that all is settled, and hands out nothing more."""

        async def settled() -> bool:
            try:
                assert list(await consumer.fetch(10, 0.02)) == []
                return await consumer.pending() == 0
            except MessagingError:
                return False

        await until(settled)
