"""``carrick outbox reconcile``."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from carrick.cli.options import AsJson, DatabaseUrl, NatsUrl, broker_at, quiet
from carrick.cli.outbox.database import outbox_at
from carrick.errors import ConfigurationError
from carrick.outbox.reconcile import Comparison, Lost, Progress, StreamComparison

__all__ = ["reconcile"]

_CLEAR_LINE = "\r\x1b[K"


def reconcile(
    database: DatabaseUrl,
    nats: NatsUrl,
    since: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Look only for what was published in the last SECONDS.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Look at this stream only.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing, and change nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish again also what the stream seems to have removed by itself.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before anything is changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """After a disaster of the broker: find published events that its streams no longer hold, and publish them again.

    Compares the events that are marked as published, and still kept, with what
    the streams hold. Those that are missing are marked as not published: a
    relay publishes them, in order for each key, under the ids they had. It may
    run meanwhile. Events that a stream removed by itself, by age or number,
    are not missing, unless --force says so. Events that were dropped or
    expired are never published.

    Look with --dry-run first: with another broker's URL everything is missing.
    A terminal is asked before anything is changed, unless --yes is given.

    Exit status: 0 when nothing is missing or all that is will be published
    again, 1 when database or broker could not be had or the answer was no, 2
    when an option is wrong, 3 when --dry-run found something missing.

    Examples:
      carrick outbox reconcile --dry-run
      carrick outbox reconcile --stream ORDERS --since 86400

    """
    quiet()
    if since is not None and not since > 0:
        raise ConfigurationError(f"--since must be above 0 seconds, not {since:g}")
    tell = partial(typer.echo, err=as_json)
    ask = not yes and sys.stdin.isatty()
    work = _reconcile(database, nats, Job(since, stream, force=force, change=not dry_run, ask=ask, tell=tell))
    found, restored = asyncio.run(work)
    missing = sum(each.missing for each in found)
    if as_json:
        streams = [{**asdict(each), "missing": each.missing, "removed": each.removed} for each in found]
        typer.echo(json.dumps({"missing": missing, "restored": restored, "streams": streams}, indent=2))
    elif not dry_run:
        typer.echo(f"{restored} are published again, as soon as a relay runs")
    raise typer.Exit(3 if dry_run and missing else 0)


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for."""

    since: float | None
    stream: str | None
    _: KW_ONLY
    force: bool
    change: bool
    ask: bool
    tell: Callable[[str], None]


async def _reconcile(url: str, nats: str, job: Job) -> tuple[Sequence[StreamComparison], int]:
    shows = sys.stderr.isatty()
    async with (
        outbox_at(url) as database,
        broker_at(nats, name="outbox-reconcile") as broker,
        Comparison(
            database, broker, since=job.since, force=job.force, progress=_show if shows else _ignore
        ) as comparison,
    ):
        found = await comparison.compare(job.stream)
        if shows:
            typer.echo(_CLEAR_LINE, err=True, nl=False)
        for line in _lines(found):
            job.tell(line)
        if not job.change:
            return found, 0
        missing = sum(each.missing for each in found)
        if missing and job.ask:
            await asyncio.to_thread(typer.confirm, f"publish {missing} events again?", abort=True, err=True)
        return found, await comparison.restore()


def _lines(found: Sequence[StreamComparison]) -> Iterator[str]:
    if not found:
        yield "nothing published is kept, so there is nothing to compare"
    for stream in found:
        yield f"stream {stream.stream}" + ("" if stream.there else ": is gone")
        for each in stream.subjects:
            removed = f", {each.removed} removed by the stream" if each.removed else ""
            yield f"  {each.subject}  {each.published} published, {each.missing} missing{removed}"
            if each.first is not None and each.last is not None:
                yield f"    from {_moment(each.first)} to {_moment(each.last)}"
        if stream.removed:
            yield f"  {stream.removed} are left alone: the stream removes {stream.removes}; see --force"
    yield f"{sum(each.missing for each in found)} missing"


def _moment(lost: Lost) -> str:
    return f"{datetime.fromtimestamp(lost.published_at, UTC).isoformat(timespec='seconds')} {lost.id}"


def _show(progress: Progress) -> None:
    typer.echo(f"{_CLEAR_LINE}{progress.stream}: {progress.done} {progress.doing}", err=True, nl=False)


def _ignore(progress: Progress) -> None:
    pass
