"""NATS JetStream as a broker. The only module that imports nats.

What nats-py does by itself and must not do here: buffer publishes during an outage and send them later, after the
caller was told that they failed (``pending_size=0`` prevents it); give up reconnecting after 60 tries.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, OutboundBufferLimitError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from carrick.errors import Code, ConfigurationError, MessagingError
from carrick.messaging.contract import Consumer, Delivery, Message

__all__ = ["NatsBroker"]

_RECONNECT_WAIT = 0.25
_DUPLICATE_WINDOW = 120.0
_LOG_EVERY = 5.0
_logger = logging.getLogger("carrick.nats")


class NatsBroker:
    """A connection to NATS with JetStream. Opens and closes as a context manager.

    Opening waits up to ``startup_timeout`` seconds for a server; afterwards the connection is restored for as long as
    it takes, and what is asked for meanwhile raises ``MessagingError``. Streams are created on file storage with
    ``replicas`` copies. A publish waits ``publish_timeout`` seconds for its acknowledgement.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        startup_timeout: float = 30.0,
        publish_timeout: float = 5.0,
        replicas: int = 1,
    ) -> None:
        self._url = url
        self._address = _address(url)
        self._name = name
        self._startup_timeout = startup_timeout
        self._publish_timeout = publish_timeout
        self._replicas = replicas
        self._client: Client | None = None
        self._last_complaint = -_LOG_EVERY
        self._reopening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. Raises ``MessagingError`` when there is no server within the start-up time."""
        client = Client()
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
        except asyncio.CancelledError:
            await client.close()
            raise
        except (TimeoutError, OSError, NatsError) as error:
            await client.close()
            raise MessagingError(
                Code.UNAVAILABLE, f"no NATS server at {self._address} within {self._startup_timeout:g} s"
            ) from error
        self._client = client

    async def close(self) -> None:
        """Send what was acknowledged, then disconnect."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait((self._reopening,))
        client, self._client = self._client, None
        if client is None:
            return
        if client.is_connected:
            try:
                await client.flush(timeout=1)
            except (TimeoutError, NatsError) as error:
                _logger.warning("the last acknowledgements may not have reached NATS: %r", error)
        await client.close()

    async def publish(self, message: Message) -> None:
        """Publish to JetStream and wait for the acknowledgement of the stream."""
        jetstream = self._jetstream()
        headers = {
            **message.headers,
            Header.MSG_ID.value: message.id,
            Header.EXPECTED_STREAM.value: message.stream,
        }
        with _vendor_errors(f"publish to {message.subject}"):
            if self._client is not None and _size(message.data, headers) > self._client.max_payload:
                raise MaxPayloadError  # nats-py leaves out the headers, and the server would cut the connection
            await jetstream.publish(message.subject, message.data, timeout=self._publish_timeout, headers=headers)

    async def ensure_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Create the stream on file storage, or check the subjects of the one there."""
        jetstream = self._jetstream()
        with _vendor_errors(f"stream {name}"):
            try:
                config = (await jetstream.stream_info(name)).config
            except NotFoundError:
                config = StreamConfig(
                    name=name,
                    subjects=list(subjects),
                    storage=StorageType.FILE,
                    num_replicas=self._replicas,
                    duplicate_window=_DUPLICATE_WINDOW,
                    allow_direct=True,
                )
                await jetstream.add_stream(config)
        missing = set(subjects) - set(config.subjects or ())
        if missing:
            raise MessagingError(
                Code.FAILED_PRECONDITION,
                f"stream {name} has the subjects {config.subjects} and lacks {sorted(missing)}; "
                f"add them: nats stream edit {name}",
            )

    async def consume(
        self, stream: str, name: str, filters: Sequence[str], *, ack_wait: float, max_in_flight: int
    ) -> Consumer:
        """Create or update the durable pull consumer, and bind to it."""
        jetstream = self._jetstream()
        with _vendor_errors(f"consumer {name} of stream {stream}"):
            await jetstream.add_consumer(
                stream,
                ConsumerConfig(
                    durable_name=name,
                    ack_policy=AckPolicy.EXPLICIT,
                    deliver_policy=DeliverPolicy.ALL,
                    ack_wait=ack_wait,
                    max_deliver=-1,
                    max_ack_pending=max_in_flight,
                    filter_subjects=list(filters),
                ),
            )
            subscription = await jetstream.pull_subscribe_bind(consumer=name, stream=stream)
        return _NatsConsumer(stream, name, jetstream, subscription)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _jetstream(self) -> JetStreamContext:
        if self._client is None:
            raise MessagingError(Code.FAILED_PRECONDITION, "the broker is not open: async with broker: ...")
        return self._client.jetstream()

    async def _complain(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._last_complaint >= _LOG_EVERY:
            self._last_complaint = now
            reason = str(error) or type(error).__name__
            limit = "" if self._client else f", {self._startup_timeout:g} s at most from the start"
            _logger.warning("waiting for NATS at %s%s: %s", self._address, limit, reason)

    async def _disconnected(self) -> None:
        if self._client is not None:  # not by our own close
            _logger.warning("NATS at %s is gone", self._address)

    async def _closed(self) -> None:
        by_us = self._client is None
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
        _logger.warning("NATS at %s is back", self._address)


class _NatsConsumer:
    """A bound pull consumer."""

    def __init__(
        self, stream: str, name: str, jetstream: JetStreamContext, subscription: JetStreamContext.PullSubscription
    ) -> None:
        self._stream = stream
        self._name = name
        self._jetstream = jetstream
        self._subscription = subscription

    async def fetch(self, most: int, timeout: float) -> Sequence[Delivery]:
        with _vendor_errors(f"fetch by {self._name} from stream {self._stream}"):
            try:
                messages = await self._subscription.fetch(most, timeout=timeout)
            except TimeoutError:
                return ()
        return [_NatsDelivery(message) for message in messages]

    async def pending(self) -> int:
        with _vendor_errors(f"consumer {self._name} of stream {self._stream}"):
            info = await self._jetstream.consumer_info(self._stream, self._name)
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def close(self) -> None:
        try:
            await self._subscription.unsubscribe()
        except (NatsError, ValueError) as error:  # gone already, with its connection
            _logger.debug("%s: %r", self._name, error)


class _NatsDelivery:
    """A message with its JetStream metadata."""

    def __init__(self, message: Msg) -> None:
        self._message = message
        self.subject = message.subject
        self.data = message.data
        self.headers: Mapping[str, str] = message.headers or {}
        self.stream = message.metadata.stream
        self.sequence = message.metadata.sequence.stream
        self.deliveries = message.metadata.num_delivered

    async def ack(self) -> None:
        with _vendor_errors(f"ack of {self.stream} {self.sequence}"):
            await self._message.ack()

    async def nak(self) -> None:
        with _vendor_errors(f"nak of {self.stream} {self.sequence}"):
            await self._message.nak()

    async def in_progress(self) -> None:
        with _vendor_errors(f"renewal of {self.stream} {self.sequence}"):
            await self._message.in_progress()


def _address(url: str) -> str:
    """Return the host and port of a URL, without the credentials it may hold."""
    parts = urlsplit(url)
    if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
        raise ConfigurationError("the NATS URL must look like nats://127.0.0.1:4222")
    return f"{parts.hostname}:{parts.port or 4222}"


def _size(data: bytes, headers: Mapping[str, str]) -> int:
    """Return the bytes that the server counts: ``NATS/1.0``, a line for each header, an empty line, and the data."""
    return 12 + sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items()) + len(data)


@contextmanager
def _vendor_errors(what: str) -> Iterator[None]:
    """Turn nats-py's errors into ``MessagingError``."""
    try:
        yield
    except MaxPayloadError as error:
        raise MessagingError(Code.INVALID_ARGUMENT, f"{what}: larger than the server's max_payload") from error
    except ServiceUnavailableError as error:
        raise MessagingError(
            Code.UNAVAILABLE, f"{what}: the NATS server has no JetStream (yet); start it with --jetstream"
        ) from error
    except APIError as error:
        raise MessagingError(
            Code.UNAVAILABLE, f"{what}: {error.description or type(error).__name__} (JetStream error {error.err_code})"
        ) from error
    except OutboundBufferLimitError as error:
        raise MessagingError(Code.UNAVAILABLE, f"{what}: not connected to NATS") from error
    except (NatsError, TimeoutError, OSError) as error:
        raise MessagingError(Code.UNAVAILABLE, f"{what}: {type(error).__name__}") from error
