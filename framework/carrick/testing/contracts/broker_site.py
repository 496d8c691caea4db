"""Where the brokers of a contract's tests are, and a stream of each test's own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest_asyncio

from carrick.errors import MessagingError
from carrick.ids import random_id
from carrick.messaging import Broker, Consumer, Delivery, Message

__all__ = ["BrokerSite", "Scene", "SharedScene", "fetched", "numbers", "until", "until_pending"]

_PATIENCE = 30.0


class BrokerSite(Protocol):
    """A broker that all tests may share, or one of a test's own: each test makes streams with names of its own."""

    @property
    def broker(self) -> Broker:
        """An open connection to it."""
        ...

    @property
    def stores_as_a_whole(self) -> bool:
        """Whether more than a few messages are appended all or none."""
        ...

    def another(self) -> AbstractAsyncContextManager[Broker]:
        """Return another connection to it, to be opened, as another process has it."""
        ...

    async def go_away(self) -> None:
        """Have it crash: what was stored stays. Asked of a broker of a test's own only."""
        ...

    async def come_back(self) -> None:
        """Start it again."""
        ...

    async def delete_stream(self, stream: str) -> None:
        """Delete a stream with its consumers, by somebody else's hand."""
        ...

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Delete a durable consumer, by somebody else's hand."""
        ...


@dataclass
class Scene:
    """A stream of a test's own."""

    site: BrokerSite
    root: str = field(default_factory=lambda: f"t{random_id()[:12]}")

    @property
    def broker(self) -> Broker:
        """The broker it is on."""
        return self.site.broker

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return self.root.upper()

    async def publish(self, *numbers: int, branch: str = "a") -> None:
        """Publish one message a number."""
        for number in numbers:
            await self.broker.publish(self.message(number, branch))

    async def append(self, count: int, *, branch: str = "a") -> None:
        """Append messages with the numbers from 0, to a branch that is empty."""
        expected = 0
        for first in range(0, count, 500):
            messages = self.messages(*range(first, min(first + 500, count)), branches=branch)
            expected = (await self.broker.append(messages, {messages[0].subject: expected}))[messages[0].subject]

    def message(
        self, number: int, branch: str = "a", *, msg_id: str | None = None, data: bytes | None = None
    ) -> Message:
        """Make a message with its number as its data."""
        return Message(
            stream=self.stream,
            subject=f"{self.root}.{branch}.p00",
            id=msg_id or f"{branch}-{number}",
            data=str(number).encode() if data is None else data,
            headers={"ce-id": f"{number}", "ce-source": "caf%C3%A9", "Empty": ""},
        )

    def messages(self, *numbers: int, branches: str = "a") -> list[Message]:
        """Make messages, on the branches in turn."""
        return [self.message(number, branches[number % len(branches)]) for number in numbers]

    def subjects(self, branches: str) -> list[str]:
        """Return the branches' subjects."""
        return [f"{self.root}.{branch}.p00" for branch in branches]

    async def consume(
        self,
        name: str = "c",
        *,
        filters: Sequence[str] = (),
        ack_wait: float = 30.0,
        max_in_flight: int = 100,
        broker: Broker | None = None,
        **options: Any,
    ) -> Consumer:
        """Consume the stream."""
        return await (broker or self.broker).consume(
            self.stream, name, filters or [f"{self.root}.>"], ack_wait=ack_wait, max_in_flight=max_in_flight, **options
        )


class SharedScene:
    """A stream on the site that tests share."""

    @pytest_asyncio.fixture
    async def scene(self, broker_site: BrokerSite) -> Scene:
        """An empty stream."""
        scene = Scene(broker_site)
        await scene.broker.ensure_stream(scene.stream, [f"{scene.root}.>"])
        return scene


async def fetched(consumer: Consumer, count: int, *, ack: bool = True, tolerant: bool = False) -> list[Delivery]:
    """Fetch until there are ``count``, and acknowledge each as it comes; ``tolerant`` of errors on the way."""
    found: list[Delivery] = []
    async with asyncio.timeout(_PATIENCE):
        while len(found) < count:
            try:
                for delivery in await consumer.fetch(count - len(found), 0.2):
                    found.append(delivery)
                    if ack:
                        await delivery.ack()
            except MessagingError:
                if not tolerant:
                    raise
                await asyncio.sleep(0.01)
    return found


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    """Return the messages' numbers."""
    return [int(delivery.data) for delivery in deliveries]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when something is true; raise ``TimeoutError`` when it does not come true."""
    async with asyncio.timeout(_PATIENCE):
        while not await condition():  # noqa: ASYNC110  # nobody sets an event for it
            await asyncio.sleep(0.01)


async def until_pending(consumer: Consumer, pending: int = 0) -> None:
    """Wait until the broker has got word of the acknowledgements."""

    async def reached() -> bool:
        return await consumer.pending() == pending

    await until(reached)
