"""A broker's connection, as those see it who outlive one client of nats-py."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from nats.errors import Error as NatsError

from carrick.errors import Code, MessagingError
from carrick.messaging.nats.client import DirectClient
from carrick.messaging.nats.wire import is_sendable, send

__all__ = ["Link"]

_FLUSH_TIMEOUT = 1.0


class Link:
    """The client of the moment, who is told when it comes and goes, and what is on its way to the server.

    ``generation`` changes whenever the connection is lost or there again: what was asked of a server before is void.
    """

    def __init__(self) -> None:
        self.client: DirectClient | None = None
        self.generation = 0
        self.listeners: set[Callable[[], None]] = set()
        self._lines: list[bytes] = []
        self._sending: asyncio.Task[None] | None = None

    def turn_to(self, client: DirectClient | None) -> None:
        """Use another client from now on, or none."""
        self.client = client
        self.changed()

    def changed(self) -> None:
        """Tell everybody that the connection is another, or none."""
        self.generation += 1
        self._lines = []
        for listener in tuple(self.listeners):
            listener()

    def connected(self, what: str) -> DirectClient:
        """Return the client. Raises ``MessagingError`` when it is not connected."""
        client = self.client
        if client is None:
            raise MessagingError(Code.FAILED_PRECONDITION, "the broker is not open: async with broker: ...")
        if not client.is_connected:
            raise MessagingError(Code.UNAVAILABLE, f"{what}: not connected to NATS")
        return client

    def post(self, line: bytes, what: str) -> None:
        """Send a piece of protocol soon, together with all of this turn of the loop.

        Raises ``MessagingError`` when there is no connection or the server reads no more. It is lost, and nothing
        raised, when the connection ends before it is sent.
        """
        client = self.client
        if client is None or not is_sendable(client):
            self.connected(what)
            raise MessagingError(Code.UNAVAILABLE, f"{what}: NATS reads no more")
        self._lines.append(line)
        if len(self._lines) == 1:
            self._sending = asyncio.get_running_loop().create_task(self.send())

    async def flush(self) -> None:
        """Send what was posted, and wait a moment until the server has read it."""
        await self.send()
        client = self.client
        if client is not None and client.is_connected:
            with suppress(TimeoutError, NatsError):
                await client.flush(timeout=_FLUSH_TIMEOUT)  # type: ignore[arg-type]  # any number of seconds will do

    async def send(self) -> None:
        """Send what was posted."""
        lines, self._lines = self._lines, []
        if lines and self.client is not None:
            with suppress(NatsError):
                await send(self.client, lines)
