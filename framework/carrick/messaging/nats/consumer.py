"""A durable pull consumer of JetStream, and what it delivers."""

import logging
from collections.abc import Mapping, Sequence

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from carrick.messaging.contract import Delivery
from carrick.messaging.nats.faults import vendor_errors

__all__ = ["NatsConsumer"]

_logger = logging.getLogger("carrick.nats")


class NatsConsumer:
    """A bound pull consumer."""

    def __init__(
        self, stream: str, name: str, jetstream: JetStreamContext, subscription: JetStreamContext.PullSubscription
    ) -> None:
        self._stream = stream
        self._name = name
        self._jetstream = jetstream
        self._subscription = subscription

    async def fetch(self, most: int, timeout: float) -> Sequence[Delivery]:
        """Wait for messages."""
        with vendor_errors(f"fetch by {self._name} from stream {self._stream}"):
            try:
                messages = await self._subscription.fetch(most, timeout=timeout)
            except TimeoutError:
                return ()
        return [_NatsDelivery(message) for message in messages]

    async def pending(self) -> int:
        """Count what is not settled."""
        with vendor_errors(f"consumer {self._name} of stream {self._stream}"):
            info = await self._jetstream.consumer_info(self._stream, self._name)
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def close(self) -> None:
        """Let go of the subscription."""
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
        with vendor_errors(f"ack of {self.stream} {self.sequence}"):
            await self._message.ack()

    async def nak(self) -> None:
        with vendor_errors(f"nak of {self.stream} {self.sequence}"):
            await self._message.nak()

    async def in_progress(self) -> None:
        with vendor_errors(f"renewal of {self.stream} {self.sequence}"):
            await self._message.in_progress()
