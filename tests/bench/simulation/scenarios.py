"""What is simulated: overload, a trigger that goes away, one slow server of five, and retries through three hops."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from carrick import (
    BreakerOptions,
    CarrickError,
    Code,
    Context,
    HedgeOptions,
    MethodPolicy,
    RetryBudgetOptions,
    RetryOptions,
    SheddingOptions,
    ThrottleOptions,
)
from carrick.context import detached, enter
from carrick.observe import ignore
from carrick.rpc import Channel
from tests.bench.simulation.virtual_time import VirtualClock, run
from tests.bench.simulation.world import (
    CAPACITY,
    REQUEST,
    Fleet,
    Handler,
    Record,
    SimulatedServer,
    method,
    steady,
)

__all__ = ["ALL", "Curve", "Figure"]

Call = Callable[[Any], Awaitable[Any]]

SERVERS = 5
CLIENTS = 100
SECONDS = 40
SEED = 20
TIMEOUT = 1.0
PASSING = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})
NAIVE = RetryOptions(max_attempts=4, initial_backoff=0.05, codes=PASSING | {Code.DEADLINE_EXCEEDED})
SHEDDING = SheddingOptions(limit=20, max_queued=20, max_queue_time=0.2)
ADAPTIVE = SheddingOptions(limit=50, adaptive=True)


@dataclass(frozen=True, slots=True)
class Curve:
    """Values by the second."""

    name: str
    values: Sequence[float]


@dataclass(slots=True)
class Figure:
    """What one simulation showed."""

    name: str
    title: str
    unit: str
    curves: list[Curve] = field(default_factory=list)
    results: dict[str, float] = field(default_factory=dict)
    """Figures by name: shares and factors, or seconds."""


def _fleet(policy: MethodPolicy, *, clients: int = CLIENTS) -> tuple[Fleet, list[SimulatedServer]]:
    spec = method(policy)
    servers = [SimulatedServer(spec, Random(SEED + number)) for number in range(SERVERS)]
    return Fleet(spec, servers, clients, SEED), servers


def overload(seconds: int = SECONDS) -> Figure:
    """Twice the capacity for the whole time: what is answered in time, with shedding and without."""
    figure = Figure("overload", "Overload at twice the capacity", "answered in time, share of capacity")
    capacity = SERVERS * CAPACITY

    async def course(policy: MethodPolicy) -> Record:
        fleet, _ = _fleet(policy)
        return await fleet.call_for(seconds, steady(2 * capacity))

    for name, policy in (
        ("without", MethodPolicy(timeout=TIMEOUT, shedding=SheddingOptions(limit=100_000))),
        ("with_shedding", MethodPolicy(timeout=TIMEOUT, shedding=SHEDDING)),
        ("with_adaptive_shedding", MethodPolicy(timeout=TIMEOUT, shedding=ADAPTIVE)),
    ):
        record = run(course(policy))
        figure.curves.append(Curve(name, [good / capacity for good in record.good[:seconds]]))
        figure.results[f"goodput_{name}"] = record.rate(record.good, seconds // 4, seconds) / capacity
    return figure


TRIGGER = (15, 20)
LOAD = 0.7


def metastability() -> Figure:
    """Seventy per cent of the capacity; for five seconds the servers are four times slower; then the trigger goes."""
    figure = Figure(
        "metastability", "Servers four times slower from second 15 to 20", "share of calls answered in time"
    )
    load = LOAD * SERVERS * CAPACITY

    async def course(policy: MethodPolicy) -> Record:
        fleet, servers = _fleet(policy)
        loop = asyncio.get_running_loop()
        for at, speed in zip(TRIGGER, (0.25, 1.0), strict=True):
            for server in servers:
                loop.call_at(at, server.processor.set_speed, speed)
        return await fleet.call_for(SECONDS, steady(load))

    unbounded = RetryBudgetOptions(enabled=False)
    for name, policy in (
        ("naive", MethodPolicy(timeout=TIMEOUT, attempt_timeout=0.25, retry=NAIVE, retry_budget=unbounded)),
        (
            "default_budget",
            MethodPolicy(
                timeout=TIMEOUT,
                attempt_timeout=0.25,
                retry=RetryOptions(codes=PASSING),
                breaker=BreakerOptions(),
                shedding=ADAPTIVE,
            ),
        ),
        (
            "carrick",  # the budget's floor of ten a second is three times what one of so many clients calls
            MethodPolicy(
                timeout=TIMEOUT,
                attempt_timeout=0.25,
                retry=RetryOptions(codes=PASSING),
                retry_budget=RetryBudgetOptions(per_second=0.5),
                breaker=BreakerOptions(),
                throttle=ThrottleOptions(window=30.0),
                shedding=ADAPTIVE,
            ),
        ),
    ):
        record = run(course(policy))
        shares = [good / max(offered, 1) for good, offered in zip(record.good, record.offered, strict=True)]
        figure.curves.append(Curve(name, shares[:SECONDS]))
        figure.results[f"recovery_seconds_{name}"] = _recovery(record, load)
        begin, end = TRIGGER[0], SECONDS
        figure.results[f"amplification_{name}"] = sum(record.sent[begin:end]) / sum(record.offered[begin:end])
    return figure


def _recovery(record: Record, load: float) -> float:
    """Return how many seconds after the trigger all is well for three seconds in a row; what is left if it never is."""
    well = [good >= 0.95 * load for good in record.good]
    for second in range(TRIGGER[1], SECONDS - 3):
        if all(well[second : second + 3]):
            return float(second - TRIGGER[1])
    return float(SECONDS - TRIGGER[1])


def slow_server() -> Figure:
    """Half of the capacity; from second 10 on one server of five is twenty times slower."""
    figure = Figure(
        "slow_server", "One server of five twenty times slower from second 10", "p99 of a second, in seconds"
    )

    async def course(policy: MethodPolicy) -> Record:
        fleet, servers = _fleet(policy, clients=20)
        asyncio.get_running_loop().call_at(10, servers[0].processor.set_speed, 0.05)
        return await fleet.call_for(SECONDS, steady(0.5 * SERVERS * CAPACITY))

    ejecting = BreakerOptions(slow_after=0.1, slow_ratio=0.5, min_calls=5, open_for=30.0, trials=1)
    for name, policy in (
        ("none", MethodPolicy(timeout=5.0)),
        ("ejection", MethodPolicy(timeout=5.0, retry=RetryOptions(), breaker=ejecting)),
        ("hedging", MethodPolicy(timeout=5.0, hedge=HedgeOptions(min_calls=20, window=10.0))),
        (
            "both",
            MethodPolicy(
                timeout=5.0,
                retry=RetryOptions(),
                breaker=ejecting,
                hedge=HedgeOptions(min_calls=20, window=10.0),
            ),
        ),
    ):
        record = run(course(policy))
        figure.curves.append(Curve(name, [_p99(record, second, second + 1) for second in range(SECONDS)]))
        figure.results[f"p99_seconds_{name}"] = _p99(record, 15, SECONDS)
        figure.results[f"sent_per_call_{name}"] = sum(record.sent[15:]) / sum(record.offered[15:])
    return figure


def _p99(record: Record, begin: int, end: int) -> float:
    taken = [taken for at, taken in record.latencies if begin <= at < end]
    return statistics.quantiles(taken, n=100)[98] if len(taken) > 1 else 0.0


def storm() -> Figure:
    """Three hops, of which the last fails every call from second 10 to 20: what it is sent for each call at the top."""
    figure = Figure(
        "storm", "The last of three hops fails from second 10 to 20", "calls to it for each call at the top"
    )

    async def course(policy: MethodPolicy, tells: bool) -> Record:
        return await _Hops(policy, tells=tells).call_for(30, 100.0)

    retry = RetryOptions(max_attempts=4, initial_backoff=0.05)
    unbounded = RetryBudgetOptions(enabled=False)
    for name, policy, tells in (
        ("naive", MethodPolicy(timeout=TIMEOUT, retry=retry, retry_budget=unbounded), False),
        ("carrick", MethodPolicy(timeout=TIMEOUT, retry=retry), True),
    ):
        record = run(course(policy, tells))
        offered = [max(count, 1) for count in record.offered]
        amplified = [sent / count for sent, count in zip(record.sent, offered, strict=True)]
        figure.curves.append(Curve(name, amplified[:30]))
        figure.results[f"amplification_{name}"] = sum(record.sent[10:20]) / sum(record.offered[10:20])
    return figure


class _Hops:
    """Three services in a row, each with retries for the next."""

    def __init__(self, policy: MethodPolicy, *, tells: bool) -> None:
        self._tells = tells
        self._random = Random(SEED)
        self._last, target = self._server(policy, "Last", self._fails)
        for name in ("Middle", "First"):
            _, target = self._server(policy, name, self._calling(target))
        self._top = target

    async def call_for(self, seconds: int, rate: float) -> Record:
        """Call the first at a steady rate."""
        loop = asyncio.get_running_loop()
        record, calls, received = Record(seconds + 10), set[asyncio.Task[None]](), 0
        while loop.time() < seconds:
            await asyncio.sleep(self._random.expovariate(rate))
            second = int(loop.time())
            record.sent[second] += self._last.received - received
            received = self._last.received
            record.offered[second] += 1
            task = asyncio.create_task(self._call())
            calls.add(task)
            task.add_done_callback(calls.discard)
        await asyncio.wait(calls)
        return record

    async def _call(self) -> None:
        with suppress(CarrickError):
            await self._top(REQUEST)

    async def _fails(self, ctx: Context) -> None:
        if 10 <= asyncio.get_running_loop().time() < 20:
            raise CarrickError(Code.UNAVAILABLE, "down")

    def _server(self, policy: MethodPolicy, name: str, then: Handler) -> tuple[SimulatedServer, Call]:
        """Return a server that is fast enough for everything, and what calls it."""
        spec = method(policy, name)
        server = SimulatedServer(spec, Random(SEED), then=then, reports=self._tells)
        server.processor.set_speed(10.0)
        channel = Channel(
            "hop:1",
            clock=VirtualClock(),
            uniform=self._random.random,
            observe=ignore,
            connect=lambda target, clock: server.connect(),
        )
        return server, channel.unary(spec)

    def _calling(self, call: Call) -> Handler:
        async def then(ctx: Context) -> None:
            with enter(ctx) if self._tells else detached():
                await call(REQUEST)

        return then


ALL = (overload, metastability, slow_server, storm)
