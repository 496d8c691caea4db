"""A connection to NATS that is restored for as long as it takes.

What nats-py does by itself and must not do here: buffer publishes during an outage and send them later, after the
caller was told that they failed (``pending_size=0`` prevents it, and for what came before the outage :func:`forget`);
give up reconnecting after 60 tries.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from nats.errors import Error as NatsError

from carrick.errors import Code, ConfigurationError, MessagingError
from carrick.messaging.nats.client import DirectClient
from carrick.messaging.nats.link import Link
from carrick.messaging.nats.wire import abandon, check_nats_py, forget

__all__ = ["Connection"]

_RECONNECT_WAIT = 0.25
_LOG_EVERY = 5.0
_logger = logging.getLogger("carrick.nats")


async def _nothing(client: DirectClient) -> None:
    pass


class Connection:
    """One connection, whatever becomes of nats-py's clients.

    Opening waits up to ``startup_timeout`` seconds for a server. Afterwards the connection is restored for as long as
    it takes, with another client when one was closed for good: ``opened`` is called with each, before anybody else
    uses it. What a client is subscribed to it says again by itself after an outage; ``reconnected`` is called then.
    ``heard`` is asked of each error that comes on the connection whether it need not be logged.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        startup_timeout: float,
        heard: Callable[[Exception], bool] = lambda _: False,
        opened: Callable[[DirectClient], Awaitable[None]] = _nothing,
        reconnected: Callable[[], None] = lambda: None,
    ) -> None:
        check_nats_py()
        self._url = url
        self._address = _address(url)
        self._name = name
        self._startup_timeout = startup_timeout
        self._heard = heard
        self._opened = opened
        self._on_reconnected = reconnected
        self._last_complaint = -_LOG_EVERY
        self._reopening: asyncio.Task[None] | None = None
        self.link = Link()

    @property
    def client(self) -> DirectClient | None:
        """The client that is used now; None before the connection is opened, and after it was closed."""
        return self.link.client

    def connected(self) -> DirectClient:
        """Return the client. Raises ``MessagingError`` when the connection is not open."""
        if self.client is None:
            raise MessagingError(Code.FAILED_PRECONDITION, "the connection to NATS is not open: async with ...")
        return self.client

    async def open(self) -> None:
        """Connect. Raises ``MessagingError`` when there is no server within the start-up time."""
        client = DirectClient()
        try:
            async with asyncio.timeout(self._startup_timeout):
                await client.connect(
                    self._url,
                    name=self._name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT,  # type: ignore[arg-type]  # any number of seconds will do
                    pending_size=0,
                    error_cb=self._complain,
                    disconnected_cb=self._disconnected,
                    reconnected_cb=self._reconnected,
                    closed_cb=self._closed,
                )
                await self._opened(client)
        except asyncio.CancelledError:
            await client.close()
            raise
        except (TimeoutError, OSError, NatsError) as error:
            await client.close()
            raise MessagingError(
                Code.UNAVAILABLE, f"no NATS server at {self._address} within {self._startup_timeout:g} s"
            ) from error
        self.link.turn_to(client)

    async def close(self) -> None:
        """Send what is under way, then disconnect."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait((self._reopening,))
        client = self.client
        if client is None:
            return
        if client.is_connected:
            await self.link.send()
        self.link.turn_to(None)
        if client.is_connected:
            try:
                await client.flush(timeout=1)
            except (TimeoutError, NatsError) as error:
                _logger.warning("what was sent last may not have reached NATS: %r", error)
                abandon(client)
        forget(client)  # it would wait for what can't be sent any more
        await client.close()

    async def _complain(self, error: Exception) -> None:
        if self._heard(error):
            return
        now = asyncio.get_running_loop().time()
        if now - self._last_complaint >= _LOG_EVERY:
            self._last_complaint = now
            reason = str(error) or type(error).__name__
            limit = "" if self.client else f", {self._startup_timeout:g} s at most from the start"
            _logger.warning("waiting for NATS at %s%s: %s", self._address, limit, reason)

    async def _disconnected(self) -> None:
        if self.client is not None:  # not by our own close
            forget(self.client)
            self.link.changed()
            _logger.warning("NATS at %s is gone", self._address)

    async def _closed(self) -> None:
        by_us = self.client is None
        already = self._reopening is not None and not self._reopening.done()
        if not by_us and not already:  # some errors of a server end nats-py's client for good
            self._reopening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        while True:
            try:
                return await self.open()
            except MessagingError as error:
                await self._complain(error)
                await asyncio.sleep(_RECONNECT_WAIT)

    async def _reconnected(self) -> None:
        self._on_reconnected()
        self.link.changed()
        _logger.warning("NATS at %s is back", self._address)


def _address(url: str) -> str:
    """Return the host and port of a URL, without the credentials it may hold."""
    parts = urlsplit(url)
    if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
        raise ConfigurationError("the NATS URL must look like nats://127.0.0.1:4222")
    return f"{parts.hostname}:{parts.port or 4222}"
