"""Where a consumer stands: its subscription, its durable at the server, and for an ordered one the broker's count.

All three go with a connection, a server, or by somebody's hand; they are found or made again for the next fetch.
"""

import asyncio
import random
from typing import Any

from nats.aio.subscription import Subscription

from carrick.errors import Code, MessagingError
from carrick.ids import unique_id
from carrick.messaging.nats.client import DirectClient, Listener
from carrick.messaging.nats.durable import Durable
from carrick.messaging.nats.faults import vendor_errors
from carrick.messaging.nats.intake import Intake
from carrick.messaging.nats.link import Link
from carrick.messaging.nats.ordering import Order
from carrick.messaging.nats.pulling import Pulls

__all__ = ["Footing"]

_NEVER = float("inf")
_NOWHERE = -1
_PATIENCE = 0.25
_MOST_PATIENCE = 8.0
_QUARREL = 2.0
_SHORT_PAUSE, _LONG_PAUSE = 0.01, 0.5


class Footing:
    """Finds and keeps it.

    Whoever makes a consumer, or has the broker begin to count anew, says so before on the subject
    ``carrick.anew.<stream>.<name>``, so that nobody takes the new count for the old one: a user of the server should
    be permitted to publish and subscribe to that.
    """

    def __init__(
        self, link: Link, durable: Durable, pulls: Pulls, intake: Intake, *, after: int, came: Listener
    ) -> None:
        self._link = link
        self._durable = durable
        self._what = f"consumer {durable.name} of stream {durable.stream}"
        self._pulls = pulls
        self._intake = intake
        self._after = after
        self._came = came
        self._token = unique_id().encode()
        self._notices = f"carrick.anew.{durable.stream}.{durable.name}"
        self._noticed = 0
        self._client: DirectClient | None = None
        self._subscriptions: list[Subscription] = []
        self._stands_in = _NOWHERE
        self._stream_made = ""
        self._mending: asyncio.Task[None] | None = None
        self._trouble: MessagingError | None = None
        self._anew_since: float | None = None
        self._patience = _PATIENCE
        self._last_anew = -_NEVER
        self._quarrels = 0
        self.news = asyncio.Event()
        """Set when a fetch should look again."""
        link.listeners.add(self._connection_changed)

    def check(self) -> None:
        """Raise what went wrong since the last time."""
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    def is_mending(self, now: float) -> bool:
        """Say whether messages are to be asked for later, and see to it that they can be."""
        if self._mending is None and self._is_broken(now):
            self._mending = asyncio.get_running_loop().create_task(self._mend())
        return self._mending is not None

    @property
    def look_again(self) -> float:
        """When nothing has come of a new count: it is begun once more then. By the loop's clock."""
        order = self._intake.order
        if order is None or not order.lost or self._anew_since is None:
            return _NEVER
        return self._anew_since + self._patience

    def delivered(self, *, in_order: bool) -> None:
        """Hear what an ordered consumer makes of a delivery."""
        if in_order:
            self._anew_since, self._patience = None, _PATIENCE
        elif self._mending is None:
            self._anew_since = None  # begin anew at once

    def lost_it(self) -> None:
        """Hear that there is no such consumer."""
        self._stands_in = _NOWHERE
        self._trouble = MessagingError(Code.UNAVAILABLE, f"{self._what} is gone; the next fetch makes it anew")

    async def find(self) -> None:
        """Find or make everything. Raises ``MessagingError``."""
        client, generation = self._link.connected(self._what), self._link.generation
        self._pulls.forget()
        with vendor_errors(self._what):
            await self._subscribe(client)
            remade = await self._look_at_stream(client)
            if self._intake.order is None:
                await self._ensure(client, 1 if remade else self._after + 1)
            else:
                await self._find_in_order(client, self._intake.order, remade=remade)
        self._stands_in = generation

    async def close(self) -> None:
        """Let go."""
        self._link.listeners.discard(self._connection_changed)
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait((self._mending,))
        await self._unsubscribe()

    def _is_broken(self, now: float) -> bool:
        if self._stands_in != self._link.generation:
            return True
        order = self._intake.order
        if order is None or not order.lost:
            return False
        return self._anew_since is None or (now >= self.look_again and self._pulls.request is not None)

    async def _mend(self) -> None:
        order = self._intake.order
        try:
            if self._stands_in != self._link.generation or order is None:
                await self.find()
            else:
                await self._pause_in_a_quarrel()
                with vendor_errors(self._what):
                    await self._begin_anew(self._link.connected(self._what), order)
        except MessagingError as error:
            self._stands_in = _NOWHERE
            self._trouble = error
        except Exception as error:  # noqa: BLE001  # who fetches hears of it
            self._stands_in = _NOWHERE
            self._trouble = MessagingError(Code.INTERNAL, f"{self._what}: {error!r}")
        finally:
            self._mending = None
            self.news.set()

    async def _look_at_stream(self, client: DirectClient) -> bool:
        """Say whether the stream is another one; forget what it has forgotten."""
        made, last = await self._durable.stream_state(client)
        order = self._intake.order
        remade = self._stream_made not in ("", made)
        if remade:
            self._intake.void()
            if order is not None:
                order.forget_after(0)
        elif order is not None and last < order.high:
            self._intake.void(order.forget_after(last))
        self._stream_made = made
        return remade

    async def _find_in_order(self, client: DirectClient, order: Order, *, remade: bool) -> None:
        first = remade or not order.begun
        noticed = self._noticed
        start = (1 if remade else self._after + 1) if first else order.next_start
        info = await self._ensure(client, start)
        if first:
            order.settled_to(int(info["ack_floor"]["stream_seq"]))
        if first and not info["num_ack_pending"] and noticed == self._noticed:
            delivered = info["delivered"]
            order.settled_to(int(delivered["stream_seq"]), int(delivered["consumer_seq"]))
        else:
            await self._begin_anew(client, order)

    async def _ensure(self, client: DirectClient, start: int) -> dict[str, Any]:
        found = await self._durable.info(client)
        if found is None:
            await self._announce(client)
        return await self._durable.ensure(client, start)

    async def _begin_anew(self, client: DirectClient, order: Order) -> None:
        """Have the broker begin to count anew, after everything that is settled."""
        order.lose()
        loop = asyncio.get_running_loop()
        self._last_anew = loop.time()
        self._patience = min(self._patience * 2, _MOST_PATIENCE)
        await self._announce(client)
        if not self._durable.can_reset(client):
            self._pulls.forget()
        info = await self._durable.reset(client, order.next_start)
        if order.lost:
            self._anew_since = loop.time() if info["num_pending"] else _NEVER

    async def _pause_in_a_quarrel(self) -> None:
        """Leave others who begin anew the time to get somewhere."""
        recent = asyncio.get_running_loop().time() - self._last_anew < _QUARREL
        self._quarrels = self._quarrels + 1 if recent else 0
        if self._quarrels:
            longest = min(_SHORT_PAUSE * 2 ** min(self._quarrels, 10), _LONG_PAUSE)
            await asyncio.sleep(random.uniform(0, longest))  # no secret

    async def _announce(self, client: DirectClient) -> None:
        await client.publish(self._notices, self._token)

    async def _subscribe(self, client: DirectClient) -> None:
        if self._client is client and self._subscriptions:
            return
        await self._unsubscribe()
        inbox = client.new_inbox()
        self._client = client
        self._subscriptions.append(await client.listen(f"{inbox}.*", self._came))
        if self._intake.order is not None:
            self._subscriptions.append(await client.listen(self._notices, self._heard))
        self._pulls.inbox = inbox.encode()

    async def _unsubscribe(self) -> None:
        client, subscriptions = self._client, self._subscriptions
        self._client, self._subscriptions = None, []
        for subscription in subscriptions:
            if client is not None:
                await client.unlisten(subscription)

    def _heard(self, subject: bytes, reply: bytes, data: bytes, block: bytes | None) -> None:
        """Hear that the broker begins to count anew for somebody."""
        if self._intake.order is not None and data != self._token:
            self._noticed += 1
            self._intake.order.lose()
            self._anew_since = None
            self.news.set()

    def _connection_changed(self) -> None:
        if self._mending is not None:
            self._mending.cancel()  # it waits for an answer that will not come
        self._pulls.forget()
        if self._intake.order is not None:
            self._intake.order.lose()
        self._anew_since = None
        self.news.set()
