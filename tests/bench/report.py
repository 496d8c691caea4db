"""What every bench prints and writes: rows of medians, and the ratios that are held to."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["in_turn", "row", "show", "write"]

_COLUMNS = ("case", "metric", "median", "min", "max", "unit", "runs")


def in_turn(names: Sequence[str], number: int) -> Iterator[str]:
    """Return the sides of a round in their order, and every other time the other way round."""
    return iter(names) if number % 2 == 0 else reversed(names)


def row(case: str, metric: str, unit: str, values: Sequence[float]) -> dict[str, object]:
    """Return the median of the runs, and how far they are apart."""
    return {
        "case": case,
        "metric": metric,
        "unit": unit,
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
        "runs": len(values),
    }


def show(console: Console, rows: Sequence[Mapping[str, object]], ratios: Mapping[str, float]) -> None:
    """Print the table."""
    table = Table(*_COLUMNS)
    for each in rows:
        table.add_row(*(str(each[column]) for column in _COLUMNS))
    console.print(table)
    for name, ratio in ratios.items():
        console.print(f"{name}: {ratio:.3f}")


def write(bench: str, rows: Sequence[Mapping[str, object]], ratios: Mapping[str, float]) -> None:
    """Write ``bench-results/BENCH.json``."""
    path = Path("bench-results") / f"{bench}.json"
    path.parent.mkdir(exist_ok=True)
    content = {"bench": bench, "rows": rows, "ratios": ratios}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
