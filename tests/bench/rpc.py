"""``make bench-rpc``: bare grpc.aio beside Carrick, a stack made by hand, and other frameworks, on the same machine.

Client and server are processes of their own, started by exec. Each run warms up, then measures calls and the CPU time
of both processes over a window. The sides take turns, each round gives each side's ratio to bare grpc.aio, and medians
are reported. A side is a module in ``tests/bench/sides`` and a name in ``SIDES``.
"""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from tests.bench.report import row, show, write

BARE = "bare"
SIDES = {32: (BARE, "default", "all", "handmade", "grpclib", "connectrpc"), 1: (BARE, "default")}
"""Who takes part, by the number of calls at once; the first number's ratios are named without it."""
WARM_UP = 1.0
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one side: calls a second, and CPU microseconds a call of client and server together."""

    calls_per_second: float
    cpu_us_per_call: float


class Peer:
    """A process of one side; its lines are JSON."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(  # this interpreter, our own module
            [sys.executable, "-m", "tests.bench.rpc_peer", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> Any:
        """Return the next thing that the process says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with {self._process.wait(PATIENCE)}")
        return json.loads(line)

    def ask(self, question: str) -> Any:
        """Send a line and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self.read()

    def end(self) -> None:
        """Close its input, which ends it."""
        self._process.communicate(timeout=PATIENCE)

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self._process.wait(PATIENCE)


def measure(side: str, concurrency: int, seconds: float) -> Sample:
    """Run one side once."""
    peers = [server := Peer("serve", side)]
    try:
        address = server.read()
        peers.append(client := Peer("call", side, address, str(concurrency)))
        client.ask(str(WARM_UP))
        before = server.ask("cpu")
        run = client.ask(str(seconds))
        after = server.ask("cpu")
        for peer in reversed(peers):
            peer.end()
    finally:
        for peer in peers:
            peer.kill()
    cpu = run["cpu"] + after - before
    return Sample(run["calls"] / run["seconds"], cpu / run["calls"] * 1e6)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each side.")] = 9,
    seconds: Annotated[float, typer.Option(min=0.1, help="Measured time of a run.")] = 3.0,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: 1 round of half a second.")] = False,
) -> None:
    """Compare calls/s and CPU a call of bare grpc.aio with those of Carrick and of others."""
    if quick:
        rounds, seconds = 1, 0.5
    console = Console()
    rows: list[dict[str, object]] = []
    ratios: dict[str, float] = {}
    for concurrency, sides in SIDES.items():
        samples: dict[str, list[Sample]] = {side: [] for side in sides}
        for number in range(rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                samples[side].append(measure(side, concurrency, seconds))
            last = ", ".join(f"{side} {runs[-1].cpu_us_per_call:.0f}" for side, runs in samples.items())
            console.print(f"concurrency {concurrency}, round {number + 1} of {rounds}: {last} µs a call")
        rows += _rows(samples, concurrency)
        ratios |= _ratios(samples, concurrency)
    show(console, rows, ratios)
    write("rpc", rows, ratios)


def _rows(samples: dict[str, list[Sample]], concurrency: int) -> list[dict[str, object]]:
    rows = []
    for side, runs in samples.items():
        for metric, unit, values in (
            ("rate", "calls/s", [run.calls_per_second for run in runs]),
            ("cpu", "µs/call", [run.cpu_us_per_call for run in runs]),
        ):
            rows.append(row(f"{side}_{concurrency}", metric, unit, values))
    return rows


def _ratios(samples: dict[str, list[Sample]], concurrency: int) -> dict[str, float]:
    """Return, for each side, the median over the rounds of its CPU time a call by the bare one's."""
    suffix = "" if concurrency == next(iter(SIDES)) else f"_{concurrency}"
    ratios = {}
    for side, runs in samples.items():
        if side != BARE:
            pairs = zip(runs, samples[BARE], strict=True)
            ratio = statistics.median(run.cpu_us_per_call / bare.cpu_us_per_call for run, bare in pairs)
            ratios[f"{side}_cpu_vs_bare{suffix}"] = round(ratio, 3)
    return ratios


if __name__ == "__main__":
    typer.run(main)
