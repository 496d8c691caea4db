"""``make bench-events``: from a commit to the event's effect, and how many events a second a consumer handles.

Writer, relay and consumer are processes of their own where their databases can be shared, and so is every server; all
of them have this machine to themselves. NATS acknowledges before it syncs to disk, as it does unless told otherwise;
the databases sync first. Sides take turns, and each round gives a ratio.
"""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from carrick.testing import NatsServer, PostgresServer
from tests.bench.events import latency, rates
from tests.bench.outbox.scratch import scratch
from tests.bench.report import in_turn, row, show, write

LATENCIES = {
    "commit_to_handled_postgres": ("postgres", 100),
    "commit_to_handled_sqlite": ("sqlite", 100),
    "commit_to_handled_postgres_1000": ("postgres", 1000),
    "commit_to_handled_sqlite_1000": ("sqlite", 1000),
}
"""Where events are written and handled, and how many a second."""


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each case.")] = 3,
    events: Annotated[int, typer.Option(min=1000, help="Events that are consumed.")] = 60_000,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: 1 round, 2000 events, a second.")] = False,
    only: Annotated[str, typer.Option(help="Only cases whose names hold this; writes no file.")] = "",
) -> None:
    """Measure events: from commits to effects."""
    rounds, events, seconds = (1, 2_000, 1.0) if quick else (rounds, events, 10.0)
    console = Console()
    with (
        scratch() as folder,
        PostgresServer(folder / "postgres") as postgres,
        NatsServer(folder / "nats") as server,
    ):
        sides = _rates(events, server, folder, postgres)
        samples = _turns(console, {name: run for name, run in sides.items() if only in name}, rounds)
        rows = [row(case, "rate", "events/s", values) for case, values in samples.items()]
        rows += _latencies(console, rounds, seconds, postgres, only)
    ratios: dict[str, float] = {}
    if {"consume", "consume_bare"} <= samples.keys():
        pairs = zip(samples["consume"], samples["consume_bare"], strict=True)
        ratios["consume_vs_bare"] = round(statistics.median(one / other for one, other in pairs), 3)
    show(console, rows, ratios)
    if not only:
        write("events", rows, ratios)


def _rates(events: int, server: NatsServer, folder: Path, postgres: PostgresServer) -> dict[str, Callable[[], float]]:
    chain = rates.Chain(events, postgres)
    stream = rates.Stream(events, server, folder, postgres)
    return {
        "chain_postgres": partial(chain.run, "row"),
        "chain_postgres_inbox_only": partial(chain.run, "inbox"),
        "consume_inbox_postgres": partial(stream.run, "row", "postgres"),
        "consume_inbox_sqlite": partial(stream.run, "row", "sqlite"),
        "consume": partial(stream.run, "none"),
        "consume_bare": partial(stream.run, "bare"),
    }


def _turns(console: Console, sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in in_turn(list(sides), number):
            samples[name].append(sides[name]())
            console.print(f"round {number + 1} of {rounds}: {name} {samples[name][-1]:.0f} a second")
    return samples


def _latencies(
    console: Console, rounds: int, seconds: float, postgres: PostgresServer, only: str
) -> list[dict[str, object]]:
    found: dict[str, list[latency.Latency]] = {name: [] for name in LATENCIES if only in name}
    for number in range(rounds):
        for name in in_turn(list(found), number):
            case, rate = LATENCIES[name]
            one = latency.measure(case, rate=rate, seconds=seconds, postgres=postgres)
            found[name].append(one)
            console.print(f"round {number + 1} of {rounds}: {name} p50 {one.p50:.1f} ms, p99 {one.p99:.1f} ms")
    return [
        row(name, metric, unit, [getattr(one, metric) for one in runs])
        for name, runs in found.items()
        for metric, unit in (("p50", "ms"), ("p99", "ms"), ("rate", "events/s"))
    ]


if __name__ == "__main__":
    typer.run(main)
