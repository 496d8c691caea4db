"""``make demo``: run the shop while things are killed, then count what was lost."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from carrick.rpc import Channel
from services.demo.audit import Findings, audit, read_books
from services.demo.display import Display, show_account
from services.demo.faults import Faults
from services.demo.load import Load, stock_for
from services.demo.stage import Stage
from services.demo.watch import Watch, read_progress
from shop.orders.v1.orders_carrick import OrdersClient

_QUIET_TIMEOUT = 120.0
_REFRESH = 0.25


def main(
    orders: Annotated[
        int, typer.Option(min=1, help="Orders to place at least; more are placed while faults go on.")
    ] = 3000,
    seed: Annotated[int, typer.Option(help="What the orders are made from.")] = 1,
    faults: Annotated[bool, typer.Option(help="Kill, stop and slow things while orders flow.")] = True,
    keep: Annotated[Path | None, typer.Option(help="Empty folder for databases and logs; kept afterwards.")] = None,
) -> None:
    """Place orders in a shop of four services, break things meanwhile, and count what was lost.

    Exit status 0 when nothing was lost, doubled, oversold or charged wrongly; 1 when something was.
    """
    console = Console()
    if keep is not None and keep.exists() and any(keep.iterdir()):
        console.print(f"{keep} is not empty; name a new folder")
        raise typer.Exit(2)
    directory = keep or Path(tempfile.mkdtemp(prefix="carrick-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _as_interrupt)
    clean = False
    try:
        with Stage(directory.resolve(), stock_for(orders)) as stage:
            clean = asyncio.run(_play(console, stage, orders=orders, seed=seed, faults=faults))
    except KeyboardInterrupt:
        console.print("stopped; all processes are ended")
        raise typer.Exit(130) from None
    finally:
        if clean and keep is None:
            shutil.rmtree(directory)
        elif keep is not None or directory.exists():
            console.print(f"databases and logs are in {directory}")
    raise typer.Exit(0 if clean else 1)


async def _play(console: Console, stage: Stage, *, orders: int, seed: int, faults: bool) -> bool:
    console.print("starting NATS and four services ...")
    await asyncio.to_thread(stage.start)
    watch = Watch(stage)
    async with Channel(stage.orders_address, observe=watch.observe) as channel:
        load = Load(OrdersClient(channel), orders, seed, busy=lambda: not script.finished)
        script = Faults(stage, load, finished=not faults)
        with Display(console) as display:
            await _drive(display, stage, watch, load, script)
            await _until_quiet(display, stage, watch, load)
    statuses = await asyncio.to_thread(stage.stop)
    books = read_books(stage.directory)
    findings = audit(books, load.replies)
    watch.read_logs()
    show_account(console, load, books, findings, watch)
    unclean = {name: status for name, status in statuses.items() if status != 0}
    if unclean:
        console.print(f"[red]services that did not stop cleanly: {unclean}[/red]")
    return _verdict(console, findings) and not unclean and not load.unanswered


async def _drive(display: Display, stage: Stage, watch: Watch, load: Load, script: Faults) -> None:
    work = asyncio.gather(load.drive(), *([] if script.finished else [script.play()]))
    try:
        while not work.done():
            watch.read_logs()
            display.show(script.phase, load, watch, read_progress(stage))
            await asyncio.wait((work,), timeout=_REFRESH)
        work.result()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _until_quiet(display: Display, stage: Stage, watch: Watch, load: Load) -> None:
    """Wait until nothing is left to be done; what is still left after the time limit, the audit will find."""
    deadline = asyncio.get_running_loop().time() + _QUIET_TIMEOUT
    while asyncio.get_running_loop().time() < deadline:
        watch.read_logs()
        progress = read_progress(stage)
        display.show("waiting until all is quiet", load, watch, progress)
        if progress.quiet:
            return
        await asyncio.sleep(_REFRESH)


def _verdict(console: Console, findings: Findings) -> bool:
    if findings.clean:
        console.print("[green]Nothing was lost.[/green]")
    else:
        console.print("[bold red]The join did not hold.[/bold red]")
    return findings.clean


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(main)
