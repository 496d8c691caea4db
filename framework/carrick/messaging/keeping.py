"""Keeping deliveries while they are worked on, and telling the broker what it did not hear."""

from carrick.clock import Clock
from carrick.errors import MessagingError
from carrick.loop import Loop
from carrick.messaging.contract import Delivery

__all__ = ["Keeping"]


class Keeping:
    """Renews what is worked on three times in each ``ack_wait``, and acknowledges what could not be before.

    Starts and stops as its subscriber does.
    """

    def __init__(self, name: str, ack_wait: float, clock: Clock) -> None:
        self._interval = ack_wait / 3
        self._young: set[Delivery] = set()
        self._old: set[Delivery] = set()
        self._unheard: set[Delivery] = set()
        self._loop = Loop(f"{name}, renewals", self._step)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, delivery: Delivery) -> None:
        """Begin to keep a delivery."""
        self._young.add(delivery)

    def forget(self, delivery: Delivery) -> None:
        """Keep a delivery no longer; unless it was acknowledged, it will come again."""
        self._young.discard(delivery)
        self._old.discard(delivery)

    async def ack(self, delivery: Delivery) -> None:
        """Acknowledge a delivery, now or when the broker is back."""
        self.forget(delivery)
        try:
            await delivery.ack()
        except MessagingError:
            self._unheard.add(delivery)

    async def start(self) -> None:
        """Begin."""
        await self._loop.start()

    async def stop(self) -> None:
        """End, and forget everything: what was not acknowledged comes again."""
        await self._loop.stop()
        await self._acknowledge()
        self._young, self._old, self._unheard = set(), set(), set()

    async def _step(self) -> float:
        await self._acknowledge()
        for delivery in tuple(self._old):
            if delivery in self._old:
                try:
                    await delivery.in_progress()
                except MessagingError:
                    break  # then so are the others; the consumer asks for them again
        self._old |= self._young
        self._young = set()
        return self._interval

    async def _acknowledge(self) -> None:
        for delivery in tuple(self._unheard):
            try:
                await delivery.ack()
            except MessagingError:
                return
            self._unheard.discard(delivery)
