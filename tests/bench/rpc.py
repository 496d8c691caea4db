"""``make bench-rpc``: bare grpc.aio beside Carrick's client and server, in pairs on the same machine.

Client and server are processes of their own, started by exec. Each run warms up, then measures calls and the CPU time
of both processes over a window. The two sides alternate, and each pair gives a ratio; medians are reported.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from tests.bench.report import row, show, write

SIDES = ("bare", "carrick")
CONCURRENCIES = (32, 1)
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
    pairs: Annotated[int, typer.Option(min=1, help="Pairs at each concurrency.")] = 9,
    seconds: Annotated[float, typer.Option(min=0.1, help="Measured time of a run.")] = 4.0,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: 1 pair of half a second.")] = False,
) -> None:
    """Compare calls/s and CPU a call of bare grpc.aio and Carrick with its default policies."""
    if quick:
        pairs, seconds = 1, 0.5
    console = Console()
    rows: list[dict[str, object]] = []
    ratios: dict[str, float] = {}
    for concurrency in CONCURRENCIES:
        samples: dict[str, list[Sample]] = {side: [] for side in SIDES}
        for number in range(pairs):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                samples[side].append(measure(side, concurrency, seconds))
            last = {side: samples[side][-1].cpu_us_per_call for side in SIDES}
            console.print(
                f"concurrency {concurrency}, pair {number + 1} of {pairs}: "
                + ", ".join(f"{side} {cpu:.0f} µs a call" for side, cpu in last.items())
            )
        rows += _rows(samples, concurrency)
        name = "default_cpu_vs_bare" if concurrency == CONCURRENCIES[0] else f"default_cpu_vs_bare_{concurrency}"
        ratios[name] = _ratio(samples, lambda sample: sample.cpu_us_per_call)
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


def _ratio(samples: dict[str, list[Sample]], value: Callable[[Sample], float]) -> float:
    """Return the median over the pairs of carrick's value by the bare one's."""
    pairs = zip(samples["carrick"], samples["bare"], strict=True)
    return round(statistics.median(value(ours) / value(bare) for ours, bare in pairs), 3)


if __name__ == "__main__":
    typer.run(main)
