"""Clients and servers in virtual time: the framework's own stacks, with simulated processors and wires between them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from carrick import (
    Attempt,
    CarrickError,
    Code,
    Context,
    DeadlineError,
    IdempotencyLevel,
    MethodPolicy,
    MethodSpec,
    RemoteError,
    Service,
)
from carrick.observe import ignore
from carrick.rpc import Channel
from carrick.rpc.metadata import context_from, metadata_for, retries_left
from carrick.stacks import server_stack
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.bench.simulation.machine import Processor
from tests.bench.simulation.virtual_time import VirtualClock

__all__ = ["Fleet", "Handler", "Record", "SimulatedServer", "method", "steady"]

WIRE = 0.0005
"""Seconds that a message travels."""
WORK = 0.010
"""Seconds of a processor that a call needs on average; its spread is a third of that."""
ADMISSION = 0.0002
"""Seconds of a processor that every call needs, also one that is turned away."""
CAPACITY = 1 / (WORK + ADMISSION)
"""Calls a second that a server can answer."""

REQUEST = GetOrderRequest(order_id="o-1")
REPLY = GetOrderResponse(order_id="o-1")

Handler = Callable[[Context], Any]


def method(policy: MethodPolicy, name: str = "Get") -> MethodSpec[GetOrderRequest, GetOrderResponse]:
    """Return a method without side effects."""
    return MethodSpec(
        service="simulation.v1.Orders",
        name=name,
        request=GetOrderRequest,
        response=GetOrderResponse,
        idempotency=IdempotencyLevel.NO_SIDE_EFFECTS,
        policy=policy,
    )


class SimulatedServer:
    """A server of one method: its stack, and a processor that does the work of its calls."""

    def __init__(
        self, spec: MethodSpec[Any, Any], random: Random, *, then: Handler | None = None, reports: bool = True
    ) -> None:
        self.processor = Processor()
        self.reports = reports
        """Whether it tells its callers how many retries are left."""
        self.received = 0
        self._random = random
        self._then = then
        self._service = server_stack(self._handle, spec, clock=VirtualClock(), claims=None, instruments=None)

    async def _handle(self, request: Any, ctx: Context) -> GetOrderResponse:
        await self.processor.work(self._random.gammavariate(9, WORK / 9))
        if self._then is not None:
            await self._then(ctx)
        return REPLY

    def connect(self) -> "Wire":
        """Return a transport to this server."""
        return Wire(self)

    async def answer(self, request: Any, ctx: Context) -> Any:
        """Handle a call as it comes from the wire."""
        self.received += 1
        await self.processor.work(ADMISSION)
        return await self._service(request, ctx)


class Wire:
    """A transport that takes its time, and loses nothing. A call that is given up is cancelled at the server."""

    def __init__(self, server: SimulatedServer) -> None:
        self._server = server

    def service(self, spec: MethodSpec[Any, Any]) -> Service:
        """Return the Service that makes calls of a method."""

        async def send(request: Any, ctx: Context) -> Any:
            attempt = ctx.attempt
            assert attempt is not None
            now = asyncio.get_running_loop().time()
            remaining = ctx.remaining_for_response(now)
            if remaining is not None and remaining <= 0:
                raise DeadlineError("not sent", attempt=attempt)
            attempt.sent = True
            deadline = None if remaining is None else now + remaining
            inbound = context_from(spec, metadata_for(ctx), deadline=deadline, peer="simulated")
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._over_and_back(request, inbound, attempt)
            except TimeoutError:
                attempt.code = Code.DEADLINE_EXCEEDED
                raise DeadlineError("late", attempt=attempt) from None

        return send

    async def _over_and_back(self, request: Any, inbound: Context, attempt: Attempt) -> Any:
        await asyncio.sleep(WIRE)
        try:
            return await self._server.answer(request, inbound)
        except CarrickError as error:
            attempt.code = error.code
            attempt.trailers = (*inbound.call.trailers, *(retries_left(error) if self._server.reports else ()))
            raise RemoteError(error.code, error.message, error.details, attempt=attempt) from None
        finally:
            await asyncio.sleep(WIRE)

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class Record:
    """What became of the calls, by the second in which they ended; ``offered`` and ``sent`` by when they began."""

    seconds: int
    offered: list[int] = field(init=False)
    sent: list[int] = field(init=False)
    good: list[int] = field(init=False)
    failed: list[int] = field(init=False)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """When each good call began, and how long it took."""

    def __post_init__(self) -> None:
        self.offered, self.sent, self.good, self.failed = ([0] * self.seconds for _ in range(4))

    def rate(self, counts: Sequence[int], begin: int, end: int) -> float:
        """Return how many there were a second."""
        return sum(counts[begin:end]) / (end - begin)


class Fleet:
    """Clients that call servers, each over a channel of its own, at a rate that does not depend on the answers."""

    def __init__(self, spec: MethodSpec[Any, Any], servers: Sequence[SimulatedServer], clients: int, seed: int) -> None:
        self._random = Random(seed)
        self._servers = {f"server:{number}": server for number, server in enumerate(servers)}
        self._calls = [
            Channel(
                list(self._servers),
                clock=VirtualClock(),
                uniform=self._random.random,
                observe=ignore,
                connect=lambda target, clock: self._servers[target].connect(),
            ).unary(spec)
            for _ in range(clients)
        ]

    async def call_for(self, seconds: int, rate: Callable[[float], float]) -> Record:
        """Make calls at ``rate(now)`` a second (a Poisson process), and wait for the last one's end."""
        loop = asyncio.get_running_loop()
        record, calls, received = Record(seconds + 10), set[asyncio.Task[None]](), 0
        while (now := loop.time()) < seconds:
            await asyncio.sleep(self._random.expovariate(rate(now)))
            second = int(loop.time())
            total = sum(server.received for server in self._servers.values())
            record.sent[second] += total - received
            received = total
            record.offered[second] += 1
            task = asyncio.create_task(self._call(self._random.choice(self._calls), record))
            calls.add(task)
            task.add_done_callback(calls.discard)
        if calls:
            await asyncio.wait(calls)
        return record

    async def _call(self, call: Any, record: Record) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await call(REQUEST)
        except CarrickError:
            record.failed[int(loop.time())] += 1
        else:
            now = loop.time()
            record.good[int(now)] += 1
            record.latencies.append((begun, now - begun))


def steady(rate: float) -> Callable[[float], float]:
    """Return a rate that does not change."""
    return lambda now: rate
