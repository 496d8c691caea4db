"""Crashes of the broker: everything raises meanwhile, and goes on afterwards."""

import asyncio

import pytest
import pytest_asyncio

from carrick.errors import MessagingError
from carrick.messaging import Consumer
from carrick.testing.contracts.broker_site import BrokerSite, Scene, fetched, numbers, until, until_pending

__all__ = ["OutageContract"]

ACK_WAIT = 0.3


@pytest.mark.asyncio
class OutageContract:
    """An outage raises, and passes."""

    @pytest_asyncio.fixture
    async def fragile(self, fragile_broker_site: BrokerSite) -> Scene:
        """An empty stream on a broker of this test's own."""
        scene = Scene(fragile_broker_site)
        await scene.broker.ensure_stream(scene.stream, [f"{scene.root}.>"])
        return scene

    async def test_an_outage_raises_and_passes(self, fragile: Scene) -> None:
        """While the broker is away everything raises ``MessagingError``; then nothing published is missing.

        A broker that crashes may forget that a message was acknowledged.
        """
        consumer = await fragile.consume(ack_wait=ACK_WAIT)
        await fragile.publish(1, 2)
        (first, second) = await fetched(consumer, 2, ack=False)
        await first.ack()
        await until_pending(consumer, pending=1)
        await fragile.site.go_away()
        with pytest.raises(MessagingError):
            await fragile.publish(3)
        for failing in (second.ack, second.nak, second.in_progress, consumer.pending):
            with pytest.raises(MessagingError):
                await failing()
        with pytest.raises(MessagingError):
            await fragile.consume("other")
        with pytest.raises(MessagingError):
            await fragile.broker.ensure_stream("OTHER", ["other.>"])
        await fragile.site.come_back()
        async with asyncio.timeout(20):
            while True:
                try:
                    await fragile.publish(4)
                    break
                except MessagingError:
                    await asyncio.sleep(0.02)
        seen: set[int] = set()
        async with asyncio.timeout(20):
            while not seen >= {2, 4}:
                seen |= set(numbers(await fetched(consumer, 1)))
        await until_pending(consumer)
        assert 3 not in seen

    async def test_a_fetch_raises_when_the_broker_goes(self, fragile: Scene) -> None:
        """Who waits hears of it before the wait is over."""
        consumer = await fragile.consume()
        fetching = asyncio.create_task(consumer.fetch(1, 20.0))
        await asyncio.sleep(0.05)
        await fragile.site.go_away()
        async with asyncio.timeout(10):
            with pytest.raises(MessagingError):
                await fetching
        await fragile.site.come_back()
        await self._publish_when_back(fragile, 1)
        assert numbers(await fetched(consumer, 1, tolerant=True)) == [1]

    @pytest.mark.parametrize("ordered", [False, True])
    async def test_what_is_held_can_be_settled_after_an_outage(self, fragile: Scene, ordered: bool) -> None:
        """Acknowledging fails meanwhile; the same object can be acknowledged once the broker is back.

        An ordered consumer is not handed it out again by then, although the broker delivers it anew.
        """
        consumer = await fragile.consume(ack_wait=1.0, ordered=ordered)
        await fragile.publish(1, 2)
        held = await fetched(consumer, 2, ack=False)
        await fragile.site.go_away()
        await self._until_away(fragile)
        for delivery in held:
            with pytest.raises(MessagingError):
                await delivery.ack()
        await fragile.site.come_back()
        await self._publish_when_back(fragile, 3)
        (third,) = await fetched(consumer, 1, ack=False, tolerant=True)
        assert not ordered or int(third.data) == 3
        for delivery in (*held, third):
            await delivery.ack()
        await self._until_nothing_is_left(consumer, set() if ordered else {1, 2, 3})

    async def test_order_is_kept_through_crashes(self, fragile: Scene) -> None:
        """Whatever is in flight, and whatever the broker has forgotten of what was settled."""
        consumer = await fragile.consume(ack_wait=2.0, ordered=True, max_in_flight=20)
        seen: list[int] = []
        for start in (0, 30, 60):
            await fragile.publish(*range(start, start + 30))
            held = await fetched(consumer, 15, ack=False, tolerant=True)
            seen += numbers(held)
            for delivery in held[::2]:
                await delivery.ack()
            await fragile.site.go_away()
            await fragile.site.come_back()
            await self._until_back(fragile)
            for delivery in held[1::2]:
                await delivery.ack()
            seen += numbers(await fetched(consumer, 15, tolerant=True))
        assert seen == list(range(90))
        await self._until_nothing_is_left(consumer, set())

    async def _publish_when_back(self, scene: Scene, number: int) -> None:
        await self._until_back(scene)
        await scene.publish(number)

    async def _until_away(self, scene: Scene) -> None:
        async def away() -> bool:
            try:
                return await scene.broker.holding(scene.stream) is None
            except MessagingError:
                return True

        await until(away)

    async def _until_back(self, scene: Scene) -> None:
        async def back() -> bool:
            try:
                return await scene.broker.holding(scene.stream) is not None
            except MessagingError:
                return False

        await until(back)

    async def _until_nothing_is_left(self, consumer: Consumer, may_come_again: set[int]) -> None:
        """Wait until all is settled; who acknowledged something may be handed it again if the broker forgot that."""

        async def settled() -> bool:
            for delivery in await consumer.fetch(10, 0.05):
                assert int(delivery.data) in may_come_again
                await delivery.ack()
            return await consumer.pending() == 0

        await until(settled)
