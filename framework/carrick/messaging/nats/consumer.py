"""A durable pull consumer of JetStream.

nats-py's own waits for each message by itself, stands still when more is fetched than may be in flight, and raises odd
things across restarts. This one asks for as many as there is room for, in one request at a time, which ends with the
fetch that it was made for, so that others of the name get what nobody here waits for. What comes after its fetch has
returned something, or was cancelled, waits for the next.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from carrick.errors import Code, MessagingError
from carrick.messaging.contract import Delivery
from carrick.messaging.nats.delivery import NatsDelivery, place_of
from carrick.messaging.nats.durable import Durable
from carrick.messaging.nats.faults import vendor_errors
from carrick.messaging.nats.footing import Footing
from carrick.messaging.nats.intake import Intake, Taken
from carrick.messaging.nats.link import Link
from carrick.messaging.nats.ordering import Order
from carrick.messaging.nats.pulling import Ended, Pulls, status_of

__all__ = ["NatsConsumer"]

_ACK, _NAK = b"", b"-NAK"
_SHORTEST = 0.02  # a request that ends sooner may have ended before it arrives
_GRACE = 0.1


class NatsConsumer:
    """A consumer that finds its place again, whatever happens to the connection, the server, and the place."""

    def __init__(self, link: Link, durable: Durable, *, max_bytes: int, ordered: bool, after: int) -> None:
        self._link = link
        self._durable = durable
        self._what = f"consumer {durable.name} of stream {durable.stream}"
        self._pulls = Pulls(durable.stream, durable.name)
        order = Order() if ordered else None
        self._intake = Intake(max_in_flight=durable.max_in_flight, max_bytes=max_bytes, order=order)
        self._footing = Footing(link, durable, self._pulls, self._intake, after=after, came=self._came)
        self._loop = asyncio.get_running_loop()
        self._news = self._footing.news
        self._refused: MessagingError | None = None
        self._closed = False

    async def open(self) -> None:
        """Find or make it. Raises ``MessagingError``, and is not to be used then."""
        try:
            await self._footing.find()
        except BaseException:
            await self._footing.close()
            raise

    async def fetch(self, most: int, timeout: float) -> Sequence[Delivery]:
        """Wait for messages, and for the end of what was asked for: nothing comes for nobody then."""
        deadline = self._loop.time() + max(timeout, _SHORTEST)
        while True:
            self._check()
            now = self._loop.time()
            if found := self._intake.take(most, now):
                return found
            late = now >= deadline
            if late and (self._pulls.request is None or now >= deadline + _GRACE):
                return ()
            wake = deadline + _GRACE if late else min(self._prepare(most, now, deadline), deadline)
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(wake):
                    await self._news.wait()

    async def pending(self) -> int:
        """Count what is not settled."""
        client = self._link.connected(self._what)
        with vendor_errors(self._what):
            info = await self._durable.info(client)
        if info is None:
            raise MessagingError(Code.NOT_FOUND, f"{self._what} is gone")
        return int(info["num_pending"]) + int(info["num_ack_pending"])

    async def close(self) -> None:
        """Hand back what was not handed out, if others may have it, and let go."""
        if self._closed:
            return
        self._closed = True
        self._news.set()
        await self._footing.close()
        waiting = self._intake.take_all()
        if self._intake.order is None:
            with suppress(MessagingError):
                for delivery in waiting:
                    self.say(delivery, _NAK, "nak")
        await self._link.flush()

    @property
    def stream(self) -> str:
        """Stream of all its deliveries."""
        return self._durable.stream

    def say(self, delivery: NatsDelivery, word: bytes, what: str) -> None:
        """Send a word about a delivery. Raises ``MessagingError`` when it can't be sent."""
        reply = delivery.reply
        if reply is not None:  # else another message may be in its place
            line = b"PUB %b %d\r\n%b\r\n" % (reply, len(word), word)
            self._link.post(line, f"{what} by {self._what}")

    def settled(self, delivery: NatsDelivery) -> None:
        """Make room."""
        self._intake.settled(delivery)
        self._news.set()

    def handed_back(self, delivery: NatsDelivery) -> None:
        """Make room, or wait for it."""
        self._intake.handed_back(delivery)
        self._news.set()

    def prolonged(self, delivery: NatsDelivery) -> None:
        """Count on it for longer."""
        delivery.until = self._loop.time() + self._durable.ack_wait

    def _check(self) -> None:
        if self._closed:
            raise MessagingError(Code.FAILED_PRECONDITION, f"{self._what} was closed")
        self._link.connected(f"fetch by {self._what}")
        self._footing.check()
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def _prepare(self, most: int, now: float, deadline: float) -> float:
        """Ask for messages when there is room for them and nothing is to be done before; return when to look again."""
        if self._footing.is_mending(now):
            return deadline
        request = self._pulls.request
        if request is None or request.forgotten <= now:
            room = self._intake.room(now)
            if room <= 0:
                self._pulls.forget()
                return self._intake.frees
            line = self._pulls.ask(min(most, room), self._intake.bytes_left, now, deadline - now)
            try:
                self._link.post(line, f"fetch by {self._what}")
            except MessagingError:
                self._pulls.forget()
                raise
            request = self._pulls.request
        return min(self._footing.look_again, request.forgotten if request else deadline)

    def _came(self, subject: bytes, reply: bytes, data: bytes, block: bytes | None) -> None:
        """Take what comes to the inbox."""
        self._news.set()
        if not reply:
            return self._ended(subject, *status_of(block))
        self._pulls.came()
        place = place_of(reply)
        until = self._loop.time() + self._durable.ack_wait
        delivery = NatsDelivery(self, subject, reply, data, block, place, until)
        taken = self._intake.came(delivery, place[2], place[4])
        if self._intake.order is not None:
            self._footing.delivered(in_order=taken is not Taken.DROPPED)
        if taken is Taken.SETTLED:
            with suppress(MessagingError):  # it comes again
                self.say(delivery, _ACK, "ack")
        return None

    def _ended(self, subject: bytes, code: int, reason: str) -> None:
        ended = self._pulls.ended(subject, code, reason)
        if ended is Ended.GONE:
            self._footing.lost_it()
        elif ended is Ended.REFUSED:
            self._refused = MessagingError(Code.UNAVAILABLE, f"fetch by {self._what}: {code} {reason}")
