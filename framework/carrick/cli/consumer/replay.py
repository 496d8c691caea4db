"""``carrick consumer replay``."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Annotated

import typer

from carrick.app import App
from carrick.cli.moments import moment
from carrick.cli.options import AsJson
from carrick.cli.target import load_app, load_handler
from carrick.cli.terminal import ProgressLine, printable
from carrick.errors import CarrickError, ConfigurationError
from carrick.messaging.replay import Moment, Replay, ReplayProgress
from carrick.messaging.subscriber import Subscriber

__all__ = ["replay"]

_WHEN = "a sequence of the stream, a duration ago like 2h, or a moment like 2026-11-24T10:00Z"
_SHOWN = 20  # failures, for people


def replay(
    service: Annotated[
        str, typer.Argument(help="The service as `carrick run` takes it: services.orders, or package.module:function.")
    ],
    consumer: Annotated[str, typer.Option("--consumer", metavar="NAME", help="Name of its subscriber.")],
    first: Annotated[str, typer.Option("--from", metavar="WHEN", help=f"Where to begin: {_WHEN}.")],
    last: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="WHEN",
            help="Where to end: a sequence, which is included, or a time, which is not; at the newest unless told.",
        ),
    ] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", help="Its stream, where subscribers of one name have several.")
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option("--shadow", metavar="MODULE:FUNCTION", help="Hand the events to this handler, not the service's."),
    ] = None,
    under: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Handle everything once more, remembered under this name."),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, metavar="N", help="How many a second at most; 0 for as fast as it goes.")
    ] = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be handled, and hand over nothing.")
    ] = False,
    stop_on_error: Annotated[bool, typer.Option("--stop-on-error", help="End with the first that fails.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand a consumer's events of a range of its stream to its handlers once more, in the order of the stream.

    The service is put together as for `carrick run`, with its settings, and of
    its parts those are started that stand before the subscriber, without
    servers and other subscribers. The service may run meanwhile: no consumer's
    place in the stream is touched.

    What had its effect, as the inbox knows, is passed over. With --as it is
    handled once more under another name, and calls to other services are made
    once more. Without an inbox everything is handled, each time. A --shadow
    handler, async def f(event, ctx), gets everything, each time.

    What fails is counted and listed, and the others go on, save later events
    of its key where the contract says hold_key. While something is away it is
    waited for. Ctrl-C ends it after the event under way, and it says how to go
    on.

    Exit status: 0 when the end was reached and nothing failed, 1 when something
    failed, it was stopped, or database or broker could not be had, 2 when an
    option is wrong.

    Examples:
      carrick consumer replay services.inventory --consumer inventory --from 2h --dry-run
      carrick consumer replay services.inventory --consumer inventory --from 1 --as rebuilt-1
      carrick consumer replay services.inventory --consumer inventory --from 1 --shadow trial.new:handle

    """
    begin, end = _moment("--from", first), None if last is None else _moment("--to", last)
    handler = None
    sys.path.insert(0, "")  # packages of the folder the command is run in
    if shadow is not None:
        handler = load_handler(shadow)
    app = load_app(service)
    logging.getLogger("carrick").setLevel(logging.ERROR)
    subscriber = _subscriber(app, consumer, stream)
    line = ProgressLine()
    work = subscriber.replay(
        begin,
        end,
        shadow=handler,
        under=under,
        trial=dry_run,
        stop_on_error=stop_on_error,
        rate=rate,
        progress=lambda progress: line.show(_position(progress)),
    )
    error = asyncio.run(_run(app, subscriber, work))
    line.clear()
    progress = work.progress
    if as_json:
        typer.echo(json.dumps({**asdict(progress), "handled": progress.handled, "dry_run": dry_run}, indent=2))
    else:
        typer.echo("\n".join(_lines(progress, dry_run=dry_run)))
    if not progress.finished and progress.end:
        typer.echo(
            f"ended at {progress.position} of {progress.end}; "
            f"go on with the same command and --from {progress.position + 1}",
            err=True,
        )
    if error is not None:
        raise error
    raise typer.Exit(0 if progress.finished and not progress.failed else 1)


async def _run(app: App, subscriber: Subscriber, work: Replay) -> CarrickError | None:
    """Run the parts that the subscriber leans on, and the replay; return what ended it early."""
    stop = asyncio.Event()
    running = _Running(work, stop)
    await App(app.name, *_before(app, subscriber), running).run(stop)
    return running.error


def _before(app: App, subscriber: Subscriber) -> Iterator[AbstractAsyncContextManager[object]]:
    from carrick.rpc import Server

    for part in app.parts:
        if part is subscriber:
            return
        if not isinstance(part, Subscriber | Server):
            yield part


class _Running:
    """The replay as a part of an app, which ends when it does."""

    def __init__(self, work: Replay, stop: asyncio.Event) -> None:
        self._work = work
        self._stop = stop
        self._task: asyncio.Task[None] | None = None
        self.error: CarrickError | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._work.stop()
        assert self._task is not None
        try:
            await self._task
        finally:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._work.run()
        except CarrickError as error:
            self.error = error
        finally:
            self._stop.set()


def _subscriber(app: App, name: str, stream: str | None) -> Subscriber:
    there = [part for part in app.parts if isinstance(part, Subscriber)]
    found = [part for part in there if part.name == name and stream in (None, part.stream)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(f"{part.name} (stream {part.stream})" for part in there)) or "none"
    problem = "has several consumers" if found else "has no consumer"
    raise ConfigurationError(f"{app.name} {problem} {name}; it has: {names}" + ("; add --stream" if found else ""))


def _moment(option: str, text: str) -> Moment:
    if text.isascii() and text.isdecimal():
        return int(text)
    return datetime.fromtimestamp(moment(option, text, now=time.time()), UTC)


def _position(progress: ReplayProgress) -> str:
    rate = progress.events / progress.seconds if progress.seconds else 0.0
    waiting = f", waits: {printable(progress.waiting)}" if progress.waiting else ""
    failed = f", {progress.failed} failed" if progress.failed else ""
    left = progress.end - progress.position
    return f"at {progress.position} of {progress.end}, {left} to go, {rate:.0f}/s{failed}{waiting}"


def _lines(progress: ReplayProgress, *, dry_run: bool) -> Iterator[str]:
    for failure in progress.failures[:_SHOWN]:
        name = f"{failure.type} {failure.event_id} of key {failure.key}: " if failure.type else ""
        yield printable(f"{failure.sequence}: {name}{failure.reason}")
    if progress.failed > _SHOWN:
        yield f"... and {progress.failed - _SHOWN} more; see --json"
    for name, count in sorted(progress.handled.items()):
        yield f"{name}  {count}"
    others = {
        "had their effect before": progress.passed_over,
        "are none of this consumer's": progress.skipped,
        "are left behind one that failed": progress.behind,
        "failed": progress.failed,
    }
    more = "".join(f", {count} {what}" for what, count in others.items() if count)
    yield f"{progress.handled.total()} {'would be' if dry_run else 'are'} handled{more}"
