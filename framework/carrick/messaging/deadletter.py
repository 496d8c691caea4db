"""Dead letters: messages that a consumer could not handle, kept with the reason."""

import re
from dataclasses import replace

from carrick.errors import Code, MessagingError
from carrick.messaging.contract import Broker, Delivery, Message

__all__ = ["DEAD_LETTER_STREAM", "DeadLetters"]

DEAD_LETTER_STREAM = "DEADLETTERS"

_SUBJECT_ROOT = "deadletter"
_MAX_REASON = 1024
_NO_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]").sub


class DeadLetters:
    """Puts messages aside in the stream ``DEADLETTERS``, on ``deadletter.<consumer>.<subject>``.

    A dead letter has the message's bytes and headers, and beside them ``Carrick-Reason``, ``-Consumer``, ``-Stream``,
    ``-Sequence``, ``-Subject`` and ``-Deliveries``. Characters that a header's name must not have become ``_``.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._ready = False

    async def put(self, consumer: str, delivery: Delivery, reason: str) -> None:
        """Return once the dead letter is stored. Raises ``MessagingError``; the message must then not be settled.

        Putting the same message twice within the stream's window for duplicates stores it once.
        """
        ready, self._ready = self._ready, False  # after a failure, look for the stream again
        if not ready:
            await self._broker.ensure_stream(DEAD_LETTER_STREAM, [f"{_SUBJECT_ROOT}.>"])
        kept = {
            _NO_TOKEN("_", name): value
            for name, value in delivery.headers.items()
            if not name.lower().startswith("nats-")
        }
        message = Message(
            stream=DEAD_LETTER_STREAM,
            subject=f"{_SUBJECT_ROOT}.{consumer}.{delivery.subject}",
            id=f"{consumer}:{delivery.stream}:{delivery.sequence}",
            data=delivery.data,
            headers={
                **kept,
                "Carrick-Reason": " ".join(reason.split())[:_MAX_REASON],
                "Carrick-Consumer": consumer,
                "Carrick-Stream": delivery.stream,
                "Carrick-Sequence": str(delivery.sequence),
                "Carrick-Subject": delivery.subject,
                "Carrick-Deliveries": str(delivery.deliveries),
            },
        )
        await self._publish(message)
        self._ready = True

    async def _publish(self, message: Message) -> None:
        try:
            await self._broker.publish(message)
        except MessagingError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                raise
            ours = {name: value for name, value in message.headers.items() if name.startswith("Carrick-")}
            await self._broker.publish(  # too large with our words: the bytes stay in their stream, at Carrick-Sequence
                replace(message, data=b"", headers={**ours, "Carrick-Left-Out": f"{len(message.data)} bytes"})
            )
