"""What the demo shows: a live table in a terminal, a line now and then elsewhere, and the final account."""

import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.demo.audit import Books, Findings
from services.demo.load import Load
from services.demo.watch import Progress, Watch

__all__ = ["Display", "show_account"]

_LINE_EVERY = 2.0


class Display:
    """Shows how the demo goes on. Used as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._last_line = 0.0
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, phase: str, load: Load, watch: Watch, progress: Progress) -> None:
        """Show the state of things."""
        facts = self._facts(phase, load, watch, progress)
        if self._console.is_terminal:
            table = Table(show_header=False, box=None, padding=(0, 2))
            for name, value in facts.items():
                table.add_row(f"[bold]{name}[/bold]", value)
            self._live.update(table, refresh=True)
        elif time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            self._console.print("  ".join(f"{name}: {value}" for name, value in facts.items()), soft_wrap=True)

    def _facts(self, phase: str, load: Load, watch: Watch, progress: Progress) -> dict[str, str]:
        placed = sum(reply.placed for reply in load.replies)
        not_closed = [f"{name} {state}" for name, state in watch.breakers.items() if state != "closed"]
        return {
            "time": f"{time.monotonic() - self._started:.0f} s",
            "phase": phase,
            "orders": f"{load.asked} asked, {placed} placed, {len(load.replies) - placed} refused",
            "customers": str(load.customers),
            "calls": f"{load.calls}, failed {sum(load.errors.values())}",
            "retries": ", ".join(f"{who} {count}" for who, count in watch.retries.items()) or "none",
            "breakers": ", ".join(not_closed) or "all closed",
            "outbox": f"{progress['unpublished']} of {progress['committed']} events waiting",
        }


def show_account(console: Console, load: Load, books: Books, findings: Findings, watch: Watch) -> None:
    """Print the final table."""
    table = Table(title="What became of it", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    placed = sum(order.status == "PLACED" for order in books.orders)
    refused = sum(order.status == "REFUSED" for order in books.orders)
    for name, value in (
        ("orders asked for", load.asked),
        ("placed", placed),
        ("refused", refused),
        ("customers without an answer", load.unanswered),
        ("calls by customers, of which failed", f"{load.calls}, {sum(load.errors.values())}"),
        ("retries below them", sum(watch.retries.values())),
        ("times a circuit opened", sum(watch.opened.values())),
        ("events committed", len(books.events)),
        ("delivered to inventory", len(books.handled["inventory"])),
        ("delivered to notifications", len(books.handled["notifications"])),
    ):
        table.add_row(name, str(value))
    table.add_section()
    for number, check in enumerate(findings.checks):
        if number == 5:
            table.add_section()
        colour = "green" if check.count == 0 else "bold red"
        table.add_row(check.name, f"[{colour}]{check.count}[/{colour}]")
    console.print(table)
    for check in findings.checks:
        for case in check.cases:
            console.print(f"[red]{check.name}:[/red] {case}", soft_wrap=True)
