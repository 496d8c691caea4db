"""``carrick outbox quarantine …``."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from carrick.cli.options import AsJson, DatabaseUrl, quiet
from carrick.cli.outbox.database import outbox_at
from carrick.errors import Code, ConfigurationError, OutboxError
from carrick.outbox import quarantine
from carrick.outbox.quarantine import QuarantinedEvent, Selection
from carrick.store.transaction import Transaction

__all__ = ["quarantine_commands"]

quarantine_commands = typer.Typer(
    help="Events that the broker refused for good, like one that is too large. Later ones of their keys wait.",
    no_args_is_help=True,
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of events.")]
Everything = Annotated[bool, typer.Option("--all", help="All that are quarantined.")]
Subject = Annotated[str | None, typer.Option(help="Those of a subject, like orders.placed.v1 or orders.placed.v1.p07.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Those whose reason has this in it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many it would be, and change nothing.")]
Change = Callable[[Transaction, Selection], Awaitable[Counter[str]]]


@quarantine_commands.command("list")
def list_events(
    database: DatabaseUrl,
    subject: Subject = None,
    reason: Reason = None,
    most: Annotated[int, typer.Option(min=1, help="How many at most, the oldest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the events that the broker refused, and why.

    Exit status: 0, also when there are none; 1 when the outbox could not be
    read, 2 when an option is wrong.
    """
    quiet()
    selection = Selection(subject=subject, reason=reason, everything=subject is None and reason is None)
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
        reason: Reason = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        quiet()
        selection = _selection(ids, everything=everything, subject=subject, reason=reason)
        work = _changed(database, selection, quarantine.counted if dry_run else change, writes=not dry_run)
        counts = asyncio.run(work)
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


def _selection(ids: list[str] | None, *, everything: bool, subject: str | None, reason: str | None) -> Selection:
    if everything is bool(ids or subject is not None or reason is not None):
        raise ConfigurationError("say which events: ids, --subject or --reason; or --all, alone")
    return Selection(ids=ids or (), subject=subject, reason=reason, everything=everything)


async def _changed(url: str, selection: Selection, change: Change, *, writes: bool) -> Counter[str]:
    async with outbox_at(url) as database, database.transaction() if writes else database.read() as tx:
        counts = await change(tx, selection)
        if selection.ids and selection.subject is None and selection.reason is None:
            missing = len(set(selection.ids)) - counts.total()
            if missing:
                raise OutboxError(
                    Code.NOT_FOUND,
                    f"{missing} of the ids are not quarantined, so nothing was changed; "
                    "see: carrick outbox quarantine list",
                )
        return counts


def _behind(event: QuarantinedEvent) -> str:
    return f"{event.behind} behind it"
