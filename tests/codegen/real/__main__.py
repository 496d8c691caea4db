"""``make real-protos``: contracts that nobody here wrote, generated, imported, called and type-checked."""

import shutil
import sys
import time

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.codegen.real.packages import CACHE, FETCHED, INSTALLED, imports, package
from tests.codegen.real.report import SHAPES, Report, examine

GENERATED = CACHE / "generated"
WIDTH = 120


def main() -> None:
    """Print what came of each package; exit with status 1 when anything failed."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    shutil.rmtree(GENERATED, ignore_errors=True)
    columns = ("files", "modules", "services", *SHAPES.values(), "calls", "events", "failures", "seconds")
    table = Table("package", *columns, box=SIMPLE)
    reports = []
    for name in (*INSTALLED, *FETCHED):
        console.print(f"{name} ...")
        start = time.monotonic()
        reports.append(report := examine(package(name), imports(), GENERATED / name, CACHE / "mypy", pyright=True))
        table.add_row(*_cells(report), f"{time.monotonic() - start:.1f}")
    for failure in (failure for report in reports for failure in report.failures):
        console.print(failure, markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    sys.exit(any(report.failures for report in reports))


def _cells(report: Report) -> list[str]:
    shapes = [report.shapes[shape] for shape in SHAPES.values()]
    counts = [report.files, report.modules, report.services, *shapes, report.calls, report.events]
    return [report.package, *map(str, counts), str(len(report.failures))]


if __name__ == "__main__":
    typer.run(main)
