"""``make bench-codegen``: the time to generate code, protoc's own plugins beside Carrick's, in pairs on one machine.

Every side is a protoc process that reads the same contracts and writes into an empty folder: messages and grpc's
Python plugin on one side, messages, their types and Carrick's plugin on the other. A third, without the types, is for
information. The sides alternate, and each round gives a ratio; medians are reported.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.bench.codegen_contracts import FILES, METHODS, write_contracts

BIN = Path(sys.executable).parent
PROTO = Path(__file__).resolve().parents[2] / "proto"
SIDES = {
    "grpc_python": ("python", "grpc_python"),
    "carrick": ("python", "pyi", "carrick"),
    "carrick_without_pyi": ("python", "carrick"),
}
"""What each side has protoc write."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one side: seconds by the wall, and seconds of CPU of protoc and its plugins."""

    wall: float
    cpu: float


def measure(side: str, contracts: Path, paths: Sequence[str], out: Path) -> Sample:
    """Run one side once."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{contracts}", f"-I{PROTO}"]
    command += [f"--plugin=protoc-gen-carrick={BIN / 'protoc-gen-carrick'}"]
    command += [f"--{output}_out={out}" for output in SIDES[side]]
    cpu, wall = _children_cpu(), time.monotonic()
    subprocess.run([*command, *paths], check=True)
    return Sample(time.monotonic() - wall, _children_cpu() - cpu)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each side once in each.")] = 9,
    files: Annotated[int, typer.Option(min=1, help="Contract files, ten methods in each.")] = FILES,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: 1 round with 20 files.")] = False,
) -> None:
    """Compare the time that protoc takes with grpc's plugin and with Carrick's."""
    if quick:
        rounds, files = 1, 20
    console = Console()
    console.print(f"{files} files with {files * METHODS} methods, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        samples = _run(Path(folder), files, rounds, console)
    rows = _rows(samples)
    ratios = {
        "time_vs_protoc": _ratio(samples, "carrick", lambda sample: sample.wall),
        "cpu_vs_protoc": _ratio(samples, "carrick", lambda sample: sample.cpu),
        "time_vs_protoc_without_pyi": _ratio(samples, "carrick_without_pyi", lambda sample: sample.wall),
    }
    _show(console, rows, ratios)
    _write(rows, ratios)


def _run(folder: Path, files: int, rounds: int, console: Console) -> dict[str, list[Sample]]:
    contracts = folder / "contracts"
    paths = write_contracts(contracts, files)
    samples: dict[str, list[Sample]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            samples[side].append(measure(side, contracts, paths, folder / "out"))
        last = ", ".join(f"{side} {runs[-1].wall:.2f} s" for side, runs in samples.items())
        console.print(f"round {number + 1} of {rounds}: {last}")
    return samples


def _rows(samples: dict[str, list[Sample]]) -> list[dict[str, object]]:
    rows = []
    for side, runs in samples.items():
        rows.append(_row(side, "wall", [run.wall for run in runs]))
        rows.append(_row(side, "cpu", [run.cpu for run in runs]))
    return rows


def _row(case: str, metric: str, values: Sequence[float]) -> dict[str, object]:
    return {
        "case": case,
        "metric": metric,
        "unit": "s",
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "runs": len(values),
    }


def _ratio(samples: dict[str, list[Sample]], side: str, value: Callable[[Sample], float]) -> float:
    """Return the median over the rounds of a side's value by the one of grpc's plugin."""
    pairs = zip(samples[side], samples["grpc_python"], strict=True)
    return round(statistics.median(value(ours) / value(theirs) for ours, theirs in pairs), 3)


def _show(console: Console, rows: Sequence[dict[str, object]], ratios: dict[str, float]) -> None:
    table = Table("case", "metric", "median", "min", "max", "unit", "runs")
    for row in rows:
        table.add_row(*(str(row[column]) for column in ("case", "metric", "median", "min", "max", "unit", "runs")))
    console.print(table)
    for name, ratio in ratios.items():
        console.print(f"{name}: {ratio:.3f}")


def _write(rows: Sequence[dict[str, object]], ratios: dict[str, float]) -> None:
    path = Path("bench-results") / "codegen.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"bench": "codegen", "rows": rows, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
