"""Answers on their way to those who asked: one subscription for all of them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from carrick.ids import random_id

__all__ = ["Answers"]


class Answers:
    """Hands each answer to who waits for it. Used from one event loop.

    nats-py's own ``request`` keeps a place for ever for each request that it could not send.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._inbox = ""

    async def listen(self, client: Client) -> None:
        """Subscribe to the answers on a new connection. Raises nats-py's errors."""
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._received)

    @contextmanager
    def expect(self) -> Iterator[tuple[str, "asyncio.Future[Msg]"]]:
        """Return where to answer to, and what the first answer will be the result of, inside the block."""
        token = random_id()
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        try:
            yield f"{self._inbox}.{token}", answer
        finally:
            del self._waiting[token]
            answer.cancel()

    async def _received(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(message)
