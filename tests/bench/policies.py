"""``make bench-policies``: what policies cost without a transport, and what they do, by simulation in virtual time."""

import statistics
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench import noop_stack
from tests.bench.report import row, show, write
from tests.bench.simulation import scenarios
from tests.bench.simulation.plot import plot

PLOTS = Path("bench-results/policies")


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each cost.")] = 9,
    calls: Annotated[int, typer.Option(min=100, help="Calls in a round.")] = 10_000,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: few calls, and no simulation.")] = False,
) -> None:
    """Measure the cost of each policy, and simulate what they do on 100 clients and 5 servers."""
    console = Console()
    if quick:
        rounds, calls = 1, 100
    costs = _costs(console, rounds, calls)
    rows = [row(*each) for each in costs]
    ratios = {"noop_stack": max(statistics.median(values) for case, _, _, values in costs if case == "noop_stack")}
    for scenario in () if quick else scenarios.ALL:
        with console.status(f"simulating: {scenario.__doc__}"):
            figure = scenario()
        ratios |= {f"{figure.name}_{metric}": round(value, 3) for metric, value in figure.results.items()}
        console.print(f"{figure.title}: {plot(figure, PLOTS)}")
    show(console, rows, ratios)
    write("policies", rows, ratios)


def _costs(console: Console, rounds: int, calls: int) -> list[tuple[str, str, str, list[float]]]:
    """Measure every policy by itself and all together, in turns, so that a busy machine is one for all."""
    cases = [(name, telemetry) for name in noop_stack.POLICIES for telemetry in (False, True)]
    taken: dict[tuple[str, bool], list[float]] = {case: [] for case in cases}
    for number in range(rounds):
        with console.status(f"round {number + 1} of {rounds}"):
            for name, telemetry in cases:
                policy = noop_stack.POLICIES[name]
                taken[name, telemetry] += noop_stack.measure(policy, rounds=1, calls=calls, telemetry=telemetry)
    return [
        (name, "unsampled telemetry" if telemetry else "without telemetry", "µs/call", values)
        for (name, telemetry), values in taken.items()
    ]


if __name__ == "__main__":
    typer.run(main)
