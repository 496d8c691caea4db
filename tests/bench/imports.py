"""``make bench-import``: what a client's imports cost beside bare grpc.aio's, each in a new process.

The process is started by exec and measures its own import; the cases alternate, one round after the other, and each
round gives a ratio to its own bare import. A round that is thrown away first has the bytecode written.
"""

import statistics
import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console

from tests.bench.report import row, show, write

BARE = "grpc_aio"
CASES = {
    BARE: "grpc.aio",
    "carrick_rpc": "carrick.rpc",
    "generated_client": "shop.orders.v1.orders_carrick",
    "messages": "shop.orders.v1.orders_pb2",
}
MEASURE = """
import sys, time
before, started = len(sys.modules), time.perf_counter()
import {module}
print(time.perf_counter() - started, len(sys.modules) - before)
"""


def measure(module: str) -> tuple[float, int]:
    """Import a module in a new process; return the milliseconds, and how many modules that loaded."""
    code = MEASURE.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, modules = done.stdout.split()
    return float(seconds) * 1e3, int(modules)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Imports of each case.")] = 41,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: 3 rounds.")] = False,
) -> None:
    """Compare the import of bare grpc.aio with those of Carrick's RPC and of a generated client."""
    samples: dict[str, list[tuple[float, int]]] = {case: [] for case in CASES}
    for number in range(1 + (3 if quick else rounds)):
        for case, module in CASES.items() if number % 2 else reversed(CASES.items()):
            sample = measure(module)
            if number:
                samples[case].append(sample)
    rows = [row(case, "import", "ms", [time for time, _ in samples[case]]) for case in CASES]
    rows += [row(case, "modules", "modules", [modules for _, modules in samples[case]]) for case in CASES]
    bare = [time for time, _ in samples[BARE]]
    ratios = {
        f"{case}_vs_{BARE}": round(
            statistics.median(time / base for (time, _), base in zip(samples[case], bare, strict=True)), 3
        )
        for case in ("carrick_rpc", "generated_client")
    }
    show(Console(), rows, ratios)
    write("import", rows, ratios)


if __name__ == "__main__":
    typer.run(main)
