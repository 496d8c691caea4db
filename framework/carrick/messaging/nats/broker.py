"""A connection to NATS, as a broker.

What nats-py does by itself and must not do here: buffer publishes during an outage and send them later, after the
caller was told that they failed (``pending_size=0`` prevents it, and for what came before the outage :func:`forget`);
give up reconnecting after 60 tries.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.js import JetStreamContext
from nats.js.api import Header, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from carrick.errors import Code, ConfigurationError, MessagingError
from carrick.messaging.contract import Consumer, Holding, Message, Place, Record, Stored
from carrick.messaging.nats.appending import append_batch, append_one_by_one, atomic_is_disabled
from carrick.messaging.nats.client import DirectClient
from carrick.messaging.nats.consumer import NatsConsumer
from carrick.messaging.nats.denials import Denials
from carrick.messaging.nats.durability import check_monitoring_url, complaints, syncs_always
from carrick.messaging.nats.durable import Durable, pause, place
from carrick.messaging.nats.faults import size_of, vendor_errors
from carrick.messaging.nats.link import Link
from carrick.messaging.nats.reading import holding, latest, read, remove, stored_after
from carrick.messaging.nats.wire import abandon, check_nats_py, forget
from carrick.messaging.subjects import matches

__all__ = ["NatsBroker"]

_RECONNECT_WAIT = 0.25
_DUPLICATE_WINDOW = 120.0
_LOG_EVERY = 5.0
_FEW = 4  # messages that are acknowledged one after the other sooner than a batch of them is synced
_HOW = "make the stream with NATS 2.12 or newer, or: nats stream edit NAME --allow-batch"
_logger = logging.getLogger("carrick.nats")


class NatsBroker:
    """A connection to NATS with JetStream. Opens and closes as a context manager.

    Opening waits up to ``startup_timeout`` seconds for a server; afterwards the connection is restored for as long as
    it takes, and what is asked for meanwhile raises ``MessagingError``. Streams are created on file storage with
    ``replicas`` copies. A publish waits ``publish_timeout`` seconds for its acknowledgement. What makes a stream less
    than that is logged, and with ``monitoring_url``, like ``http://127.0.0.1:8222``, whether its server syncs too late.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        startup_timeout: float = 30.0,
        publish_timeout: float = 5.0,
        replicas: int = 1,
        monitoring_url: str | None = None,
    ) -> None:
        check_nats_py()
        check_monitoring_url(monitoring_url)
        self._url = url
        self._address = _address(url)
        self._name = name
        self._startup_timeout = startup_timeout
        self._publish_timeout = publish_timeout
        self._replicas = replicas
        self._monitoring_url = monitoring_url
        self._judged: set[str] = set()
        self._link = Link()
        self._last_complaint = -_LOG_EVERY
        self._reopening: asyncio.Task[None] | None = None
        self._batching: dict[str, bool] = {}
        self._denials = Denials()

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
        except asyncio.CancelledError:
            await client.close()
            raise
        except (TimeoutError, OSError, NatsError) as error:
            await client.close()
            raise MessagingError(
                Code.UNAVAILABLE, f"no NATS server at {self._address} within {self._startup_timeout:g} s"
            ) from error
        self._client = client
        self._link.changed()

    async def close(self) -> None:
        """Send what was acknowledged, then disconnect."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait((self._reopening,))
        client = self._client
        if client is None:
            return
        if client.is_connected:
            await self._link.send()
        self._client = None
        self._link.changed()
        if client.is_connected:
            try:
                await client.flush(timeout=1)
            except (TimeoutError, NatsError) as error:
                _logger.warning("the last acknowledgements may not have reached NATS: %r", error)
                abandon(client)
        forget(client)  # it would wait for what can't be sent any more
        await client.close()

    async def publish(self, message: Message) -> None:
        """Publish to JetStream and wait for the acknowledgement of the stream."""
        jetstream = self._jetstream()
        headers = {
            **message.headers,
            Header.MSG_ID.value: message.id,
            Header.EXPECTED_STREAM.value: message.stream,
        }
        with vendor_errors(f"publish to {message.subject}"):
            if self._client is not None and size_of(message.data, headers) > self._client.max_payload:
                raise MaxPayloadError  # nats-py leaves out the headers, and the server would cut the connection
            await jetstream.publish(message.subject, message.data, timeout=self._publish_timeout, headers=headers)

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        """Store messages where the last sequences are as expected: many in an atomic batch, if the stream takes one."""
        client, stream, subject = self._connected(), messages[0].stream, messages[0].subject
        what = f"append {len(messages)} messages to stream {stream}" if len(messages) > 1 else f"append to {subject}"
        with vendor_errors(what):
            try:
                if len(messages) > _FEW and await self._takes_batches(stream):
                    try:
                        batch = append_batch(client, messages, expected, self._publish_timeout)
                        return await self._denials.unless_denied(expected, batch)
                    except APIError as error:
                        if not atomic_is_disabled(error):
                            raise
                        self._note_batching(StreamConfig(name=stream))
                single = append_one_by_one(client, messages, expected, self._publish_timeout)
                return await self._denials.unless_denied(expected, single)
            except NoRespondersError:
                await self._check_subjects(stream, messages)
                raise

    async def _takes_batches(self, stream: str) -> bool:
        """Say whether a stream takes atomic batches. A server older than 2.12 would store one without any order."""
        if stream not in self._batching:
            self._note_batching((await self._jetstream().stream_info(stream)).config)
        return self._batching[stream]

    def _note_batching(self, config: StreamConfig) -> None:
        """Note what a server says of a stream: an older one leaves out the setting that it does not know."""
        name, takes = config.name or "", bool(config.allow_atomic)
        if not takes and self._batching.get(name, True):
            _logger.warning("stream %s takes no atomic batches, so events go one by one; %s", name, _HOW)
        self._batching[name] = takes

    async def last(self, stream: str, subject: str) -> int:
        """Ask the stream's leader."""
        jetstream = self._jetstream()
        with vendor_errors(f"last message of {subject}"):
            try:
                return (await jetstream.get_last_msg(stream, subject)).seq or 0
            except NotFoundError:
                return 0

    async def stored_after(self, stream: str, subject: str, sequence: int, most: int) -> Sequence[Stored]:
        """Ask the stream's leader, and read with a consumer of headers in between."""
        client = self._connected()
        with vendor_errors(f"messages of {subject} after {sequence}"):
            return await stored_after(client, stream, subject, sequence, most, self._publish_timeout)

    async def holding(self, stream: str) -> Holding | None:
        """Ask for the stream's configuration and state."""
        jetstream = self._jetstream()
        with vendor_errors(f"stream {stream}"):
            return await holding(jetstream, stream)

    async def _check_subjects(self, stream: str, messages: Sequence[Message]) -> None:
        """Raise ``NOT_FOUND`` when the stream is there and does not take a subject. A server that starts is silent."""
        config = (await self._jetstream().stream_info(stream)).config
        for message in messages:
            if not any(matches(message.subject, each) for each in config.subjects or ()):
                raise MessagingError(
                    Code.NOT_FOUND, f"{message.subject} is none of the subjects of stream {stream}: {config.subjects}"
                )

    async def ensure_stream(self, name: str, subjects: Sequence[str], *, last_only_for: float | None = None) -> None:
        """Create the stream on file storage, or check the subjects of the one there."""
        jetstream = self._jetstream()
        with vendor_errors(f"stream {name}"):
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
                    allow_atomic=True,
                )
                if last_only_for is not None:
                    config = replace(
                        config,
                        max_msgs_per_subject=1,
                        max_age=last_only_for,
                        duplicate_window=min(_DUPLICATE_WINDOW, last_only_for),  # the most that a server takes
                    )
                config = (await jetstream.add_stream(config)).config
        self._note_batching(config)
        if last_only_for is None:
            await self._judge(config)
        missing = set(subjects) - set(config.subjects or ())
        if missing:
            raise MessagingError(
                Code.FAILED_PRECONDITION,
                f"stream {name} has the subjects {config.subjects} and lacks {sorted(missing)}; "
                f"add them: nats stream edit {name}",
            )

    async def _judge(self, config: StreamConfig) -> None:
        """Log once what is wrong with a stream."""
        name = config.name or ""
        if name not in self._judged:
            self._judged.add(name)
            synced = await syncs_always(self._monitoring_url)
            for complaint in complaints(config, replicas=self._replicas, window=_DUPLICATE_WINDOW, synced=synced):
                _logger.warning("stream %s: %s", name, complaint)

    async def latest(self, stream: str, filter: str) -> Sequence[Record]:  # noqa: A002  # what it is
        """Ask whoever has a copy of the stream, or its leader where only that may be asked."""
        client = self._connected()
        with vendor_errors(f"last messages of {filter} in stream {stream}"):
            return await latest(client, stream, filter, self._publish_timeout)

    async def read(self, stream: str, filter: str, after: int, most: int) -> Sequence[Record]:  # noqa: A002  # what it is
        """Ask the stream's leader, and read with a consumer in between."""
        client = self._connected()
        with vendor_errors(f"messages of {filter} in stream {stream} after {after}"):
            return await read(client, stream, filter, after, most, self._publish_timeout)

    async def remove(self, stream: str, sequence: int) -> bool:
        """Ask the stream's leader."""
        client = self._connected()
        with vendor_errors(f"removal of message {sequence} of stream {stream}"):
            return await remove(client, stream, sequence, self._publish_timeout)

    async def place(self, stream: str, name: str) -> Place | None:
        """Ask the consumer's leader."""
        client = self._connected()
        with vendor_errors(f"consumer {name} of stream {stream}"):
            return await place(client, stream, name, self._publish_timeout)

    async def consume(
        self,
        stream: str,
        name: str,
        filters: Sequence[str],
        *,
        ack_wait: float,
        max_in_flight: int,
        max_bytes: int = 64 * 1024 * 1024,
        ordered: bool = False,
        after: int = 0,
    ) -> Consumer:
        """Create the durable pull consumer, or change what differs of the one there, and bind to it."""
        self._connected()
        durable = Durable(
            stream=stream,
            name=name,
            filters=tuple(filters),
            ack_wait=ack_wait,
            max_in_flight=max_in_flight,
            timeout=self._publish_timeout,
        )
        consumer = NatsConsumer(self._link, durable, max_bytes=max_bytes, ordered=ordered, after=after)
        await consumer.open()
        return consumer

    async def pause(self, stream: str, name: str, until: float) -> None:
        """Ask for it, of a server of 2.11 or newer."""
        client = self._connected()
        with vendor_errors(f"pause of consumer {name} of stream {stream}"):
            try:
                await pause(client, stream, name, until, self._publish_timeout)
            except NotFoundError as error:
                raise MessagingError(Code.NOT_FOUND, f"stream {stream} has no consumer {name}") from error

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _client(self) -> DirectClient | None:
        return self._link.client

    @_client.setter
    def _client(self, client: DirectClient | None) -> None:
        self._link.client = client

    def _connected(self) -> DirectClient:
        if self._client is None:
            raise MessagingError(Code.FAILED_PRECONDITION, "the broker is not open: async with broker: ...")
        return self._client

    def _jetstream(self) -> JetStreamContext:
        return self._connected().jetstream(timeout=self._publish_timeout)

    async def _complain(self, error: Exception) -> None:
        if self._denials.heard(error):  # who publishes hears of it
            return
        now = asyncio.get_running_loop().time()
        if now - self._last_complaint >= _LOG_EVERY:
            self._last_complaint = now
            reason = str(error) or type(error).__name__
            limit = "" if self._client else f", {self._startup_timeout:g} s at most from the start"
            _logger.warning("waiting for NATS at %s%s: %s", self._address, limit, reason)

    async def _disconnected(self) -> None:
        if self._client is not None:  # not by our own close
            forget(self._client)
            self._link.changed()
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
        self._batching.clear()  # it may be another server, of another version
        self._link.changed()
        _logger.warning("NATS at %s is back", self._address)


def _address(url: str) -> str:
    """Return the host and port of a URL, without the credentials it may hold."""
    parts = urlsplit(url)
    if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
        raise ConfigurationError("the NATS URL must look like nats://127.0.0.1:4222")
    return f"{parts.hostname}:{parts.port or 4222}"
