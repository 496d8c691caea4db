"""``make bench-outbox``: how fast the outbox is drained, what writing to it costs, and how late its events are.

Every database and broker is a server of its own on this machine, which syncs to disk before it says that something is
there; only NATS in its ``default`` cases acknowledges first. The relay runs in the bench's process. Sides take turns,
and each round gives a ratio.
"""

import asyncio
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, TypeAlias

import typer
from rich.console import Console

from carrick.testing import PostgresServer
from tests.bench import sqlite_transactions
from tests.bench.outbox import drain, latency, peers, writing
from tests.bench.outbox.scratch import scratch
from tests.bench.report import in_turn, row, show, write

Samples: TypeAlias = dict[str, list[float]]

SYNCS: Mapping[str, bool] = {"always": True, "default": False}
"""NATS's ``sync_interval``: whether a message is on disk before it is acknowledged."""
BARE = "_bare"
PEER_SHARE = 100
"""A peer gets one row of so many."""
LATENCIES = {
    "commit_to_acked_postgres": ("postgres", 100),
    "commit_to_acked_sqlite": ("sqlite", 100),
    "commit_to_acked_sqlite_run": ("sqlite_run", 100),
    "commit_to_acked_postgres_1000": ("postgres", 1000),
    "commit_to_acked_sqlite_1000": ("sqlite_run", 1000),
}
"""How orders are written, and how many a second."""


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each drain; what is shorter runs more often.")] = 3,
    events: Annotated[int, typer.Option(min=100, help="Rows that are drained; peers get a hundredth.")] = 100_000,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: 1 round, 2000 events, half a second.")] = False,
) -> None:
    """Measure the outbox: drains, writes, latencies."""
    if quick:
        rounds, events = 1, 2_000
    short, seconds = (1, 0.5) if quick else (2 * rounds - 1, 2.5)
    console = Console()
    with scratch() as folder, PostgresServer(folder / "postgres") as postgres:
        rows, ratios = _drains(console, drain.Backlog(events, folder, postgres), postgres, rounds)
        for more_rows, more_ratios in (
            _writes(console, short, seconds, postgres),
            asyncio.run(sqlite_transactions.measure(short, seconds)),
        ):
            rows += more_rows
            ratios |= more_ratios
        rows += _latencies(console, rounds, 4 * seconds, postgres)
    show(console, rows, ratios)
    write("outbox", rows, ratios)


def _drains(
    console: Console, backlog: drain.Backlog, postgres: PostgresServer, rounds: int
) -> tuple[list[dict[str, object]], dict[str, float]]:
    few = max(backlog.count // PEER_SHARE, 100)
    sides: dict[str, Callable[[], float]] = {}
    for sync, always in SYNCS.items():
        for case in drain.CASES:
            run = partial(drain.drain, backlog, case, always=always)
            sides[f"drain_{case}_{sync}"] = partial(run, plain=False)
            sides[f"drain_{case}_{sync}{BARE}"] = partial(run, plain=True)
        for peer in peers.PEERS:
            run_peer = partial(peers.drain_peer, peer, always=always, count=few, postgres=postgres)
            sides[f"drain_{peer}_{sync}"] = run_peer
    console.print(f"draining {backlog.count} rows of 256 bytes, peers {few}")
    samples = _turns(console, sides, rounds)
    rows = [row(case, "rate", "events/s", values) for case, values in samples.items()]
    ratios = {
        f"drain_{case}_{sync}_vs_bare": _ratio(samples, f"drain_{case}_{sync}", f"drain_{case}_{sync}{BARE}")
        for sync in SYNCS
        for case in drain.CASES
    }
    for sync in SYNCS:
        for peer in peers.PEERS:
            name = f"drain_postgres_{sync}"
            ratios[f"{name}_vs_{peer}"] = _ratio(samples, name, f"drain_{peer}_{sync}")
    return rows, ratios


def _writes(
    console: Console, rounds: int, seconds: float, postgres: PostgresServer
) -> tuple[list[dict[str, object]], dict[str, float]]:
    """Return what a transaction with an event takes by one without."""
    sides = {side: partial(writing.write, side, seconds=seconds, postgres=postgres) for side in writing.SIDES}
    samples = _turns(console, sides, rounds)
    rows = [row(f"write_postgres_{side}", "rate", "transactions/s", values) for side, values in samples.items()]
    return rows, {
        "write_postgres_vs_none": _ratio(samples, "none", "event"),
        "write_postgres_signal_vs_none": _ratio(samples, "none", "signal"),
        "write_postgres_statement_vs_none": _ratio(samples, "none", "statement"),
        "write_postgres_usual_vs_none": _ratio(samples, "usual_none", "usual_event"),
        "write_asyncpg_vs_none": _ratio(samples, "asyncpg_none", "asyncpg_event"),
    }


def _latencies(console: Console, rounds: int, seconds: float, postgres: PostgresServer) -> list[dict[str, object]]:
    found: dict[str, list[latency.Latency]] = {name: [] for name in LATENCIES}
    for number in range(rounds):
        for name in in_turn(list(LATENCIES), number):
            case, rate = LATENCIES[name]
            one = latency.measure(case, rate=rate, seconds=seconds, postgres=postgres)
            found[name].append(one)
            console.print(f"round {number + 1} of {rounds}: {name} p50 {one.p50:.1f} ms, p99 {one.p99:.1f} ms")
    return [
        row(name, metric, unit, [getattr(one, metric) for one in runs])
        for name, runs in found.items()
        for metric, unit in (("p50", "ms"), ("p99", "ms"), ("rate", "events/s"))
    ]


def _turns(console: Console, sides: Mapping[str, Callable[[], float]], rounds: int) -> Samples:
    samples: Samples = {name: [] for name in sides}
    for number in range(rounds):
        for name in in_turn(list(sides), number):
            samples[name].append(sides[name]())
            console.print(f"round {number + 1} of {rounds}: {name} {samples[name][-1]:.0f} a second")
    return samples


def _ratio(samples: Samples, one: str, other: str) -> float:
    """Return the median of the rounds' ratios."""
    return round(statistics.median(a / b for a, b in zip(samples[one], samples[other], strict=True)), 3)


if __name__ == "__main__":
    typer.run(main)
