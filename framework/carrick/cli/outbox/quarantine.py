"""``carrick outbox quarantine …``."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from carrick.cli.moments import moment
from carrick.cli.options import (
    AsJson,
    DatabaseUrl,
    DryRun,
    Everything,
    Key,
    Rate,
    Reason,
    Since,
    Subject,
    Type,
    Until,
    quiet,
)
from carrick.cli.outbox.database import outbox_at
from carrick.cli.terminal import ProgressLine
from carrick.errors import Code, ConfigurationError, OutboxError
from carrick.outbox import quarantine
from carrick.outbox.quarantine import QuarantinedEvent, Selection
from carrick.pace import Pace
from carrick.store.transaction import Transaction

__all__ = ["quarantine_commands"]

quarantine_commands = typer.Typer(
    help="Events that the broker refused for good, like one that is too large. Later ones of their keys wait.",
    no_args_is_help=True,
)

_AT_A_TIME = 0.1  # seconds' worth of events are changed in one transaction

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of events.")]
Change = Callable[[Transaction, Selection], Awaitable[Counter[str]]]


@quarantine_commands.command("list")
def list_events(
    database: DatabaseUrl,
    subject: Subject = None,
    event_type: Type = None,
    key: Key = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    most: Annotated[int, typer.Option("--limit", "--most", min=1, help="How many at most, the oldest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the events that the broker refused, and why.

    Exit status: 0, also when there are none; 1 when the outbox could not be
    read, 2 when an option is wrong.
    """
    quiet()
    filters = _filters(subject=subject, event_type=event_type, key=key, reason=reason, since=since, until=until)
    selection = Selection(**filters, everything=not filters)
    found, total = asyncio.run(_list(database, selection, most))
    if as_json:
        typer.echo(json.dumps([asdict(event) for event in found], indent=2))
        return
    for event in found:
        typer.echo(f"{event.id}  {event.subject}  key {event.key}  {_behind(event)}  {event.reason}")
    typer.echo(f"{total} quarantined" + (f", {len(found)} shown" if len(found) < total else ""))


async def _list(url: str, selection: Selection, most: int) -> tuple[list[QuarantinedEvent], int]:
    async with outbox_at(url) as database, database.read() as tx:
        found = await quarantine.quarantined(tx, selection, most=most)
        return list(found), (await quarantine.counted(tx, selection)).total()


@quarantine_commands.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the event.")],
    database: DatabaseUrl,
    payload: Annotated[
        bool, typer.Option("--payload", help="Show the payload too, in base64: it may hold what is secret.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show an event with its headers, why it was refused, and how large it is.

    Exit status: 0 when it was shown, 1 when no quarantined event has that id or
    the outbox could not be read, 2 when an option is wrong.
    """
    quiet()
    event, data = asyncio.run(_show(database, event_id, payload=payload))
    fields: dict[str, Any] = asdict(event)
    if data is not None:
        fields["payload"] = base64.b64encode(data).decode()
    if as_json:
        typer.echo(json.dumps(fields, indent=2))
        return
    headers = fields.pop("headers")
    for name, value in fields.items():
        typer.echo(f"{name:<16}{f'{value:.1f}' if isinstance(value, float) else value}")
    for name, value in headers.items():
        typer.echo(f"header          {name}: {value}")


async def _show(url: str, event_id: str, *, payload: bool) -> tuple[QuarantinedEvent, bytes | None]:
    async with outbox_at(url) as database, database.read() as tx:
        event = await quarantine.find(tx, event_id)
        if event is None:
            raise OutboxError(
                Code.NOT_FOUND, f"no quarantined event has the id {event_id}; see: carrick outbox quarantine list"
            )
        return event, await quarantine.payload_of(tx, event_id) if payload else None


def _change(name: str, change: Change, done: str, explanation: str) -> None:
    """Add the command that makes this change to what is selected."""

    @quarantine_commands.command(name, help=explanation)
    def command(
        database: DatabaseUrl,
        ids: Ids = None,
        everything: Everything = False,
        subject: Subject = None,
        event_type: Type = None,
        key: Key = None,
        reason: Reason = None,
        since: Since = None,
        until: Until = None,
        rate: Rate = 0.0,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        quiet()
        filters = _filters(subject=subject, event_type=event_type, key=key, reason=reason, since=since, until=until)
        selection = _selection(ids, filters, everything=everything)
        counts = asyncio.run(_changed(database, selection, None if dry_run else change, rate))
        total = counts.total()
        if as_json:
            typer.echo(json.dumps({"events": total, "subjects": counts, "dry_run": dry_run}, indent=2))
            return
        for each, count in counts.items():
            typer.echo(f"{each}  {count}")
        typer.echo(f"{total} {'would be' if dry_run else 'are'} {done}")


_change(
    "retry",
    quarantine.retry,
    "published by a relay",
    """Let the relay publish refused events, when what kept the broker from taking them is mended.

    Each goes in its place, before the later ones of its key. What the broker
    refuses again is quarantined again. Filters narrow each other.

    Exit status: 0, also when there was none; 1 when the outbox could not be
    changed or an id is not quarantined, 2 when an option is wrong.

    Examples:
      carrick outbox quarantine retry --reason max_payload --dry-run
      carrick outbox quarantine retry 0192f0c1-… 0192f0c2-…

    """,
)
_change(
    "drop",
    quarantine.drop,
    "given up",
    """Give refused events up: they are never published, and the later ones of their keys go on.

    They are kept, with the reason, for as long as published ones. There is no
    way back. Filters narrow each other.

    Exit status: 0, also when there was none; 1 when the outbox could not be
    changed or an id is not quarantined, 2 when an option is wrong.

    Example:
      carrick outbox quarantine drop 0192f0c1-…

    """,
)


def _filters(
    *,
    subject: str | None,
    event_type: str | None,
    key: str | None,
    reason: str | None,
    since: str | None,
    until: str | None,
) -> dict[str, Any]:
    """Return those that were given, as ``Selection`` takes them."""
    now = time.time()
    filters = {
        "subject": subject,
        "type": event_type,
        "key": key,
        "reason": reason,
        "since": None if since is None else moment("--since", since, now=now),
        "until": None if until is None else moment("--until", until, now=now),
    }
    return {name: value for name, value in filters.items() if value is not None}


def _selection(ids: list[str] | None, filters: dict[str, Any], *, everything: bool) -> Selection:
    if everything is bool(ids or filters):
        raise ConfigurationError("say which events: ids or filters like --reason; or --all, alone")
    return Selection(ids=ids or (), **filters, everything=everything)


async def _changed(url: str, selection: Selection, change: Change | None, rate: float) -> Counter[str]:
    """Change what is selected, or only count it; with a rate, so many a second in several transactions."""
    async with outbox_at(url) as database:
        if change is None:
            async with database.read() as tx:
                return _complete(await quarantine.counted(tx, selection), selection)
        if not rate:
            async with database.transaction() as tx:
                return _complete(await change(tx, selection), selection)
        async with database.read() as tx:
            ids = await quarantine.ids_of(tx, selection)
            _complete(await quarantine.counted(tx, selection), selection)
        some = min(max(1, int(rate * _AT_A_TIME)), 1000)
        pace, line, counts = Pace(rate / some), ProgressLine(), Counter[str]()
        for start in range(0, len(ids), some):
            await pace.wait()
            async with database.transaction() as tx:
                counts += await change(tx, Selection(ids=ids[start : start + some]))
            line.show(f"{counts.total()} of {len(ids)}")
        line.clear()
        return counts


def _complete(counts: Counter[str], selection: Selection) -> Counter[str]:
    """Return the counts. Where ids are all that was given, each must be quarantined."""
    missing = len(set(selection.ids)) - counts.total()
    if selection.ids and selection == Selection(ids=selection.ids) and missing:
        raise OutboxError(
            Code.NOT_FOUND,
            f"{missing} of the ids are not quarantined, so nothing was changed; see: carrick outbox quarantine list",
        )
    return counts


def _behind(event: QuarantinedEvent) -> str:
    return f"{event.behind} behind it"
