"""Options that several commands have, and what they open."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from carrick.cli.databases import VARIABLES
from carrick.extras import extras_named
from carrick.store.urls import FORMS

if TYPE_CHECKING:
    from carrick.messaging.nats import NatsBroker

__all__ = [
    "AsJson",
    "DatabaseUrl",
    "DryRun",
    "Everything",
    "Key",
    "MaybeDatabaseUrl",
    "NatsUrl",
    "Rate",
    "Reason",
    "Since",
    "Subject",
    "Type",
    "Until",
    "Yes",
    "broker_at",
    "quiet",
]

_PATIENCE = 5.0
_MOMENT = "a duration ago like 2h or 30m, or a moment like 2026-11-24T10:00Z"

_DATABASE = typer.Option(
    "--database",
    metavar="URL",
    envvar=list(VARIABLES),
    help=f"The service's database: {FORMS}. A password is better given by the variable.",
)
DatabaseUrl = Annotated[str, _DATABASE]
MaybeDatabaseUrl = Annotated[str | None, _DATABASE]
NatsUrl = Annotated[
    str,
    typer.Option("--nats", metavar="URL", envvar="CARRICK_NATS_URL", help="The broker, like nats://127.0.0.1:4222."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Everything = Annotated[bool, typer.Option("--all", help="All of them.")]
Subject = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Those of a subject, like orders.placed.v1 or orders.placed.v1.p07; * is one token, > the rest.",
    ),
]
Type = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Those of an event, like shop.orders.v1.OrderPlaced.")
]
Key = Annotated[str | None, typer.Option(help="Those of a key.")]
Reason = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Those whose reason has this in it, in capitals or not.")
]
Since = Annotated[str | None, typer.Option(metavar="WHEN", help=f"Those put aside since {_MOMENT}.")]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help=f"Those put aside before {_MOMENT}.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many it would be, and change nothing.")]
Rate = Annotated[float, typer.Option(min=0, metavar="N", help="How many a second at most; 0 for as fast as it goes.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before anything is changed.")]


def broker_at(url: str, *, name: str, startup_timeout: float = _PATIENCE) -> "NatsBroker":
    """Return the broker at a URL, to be opened."""
    with extras_named("this command"):
        from carrick.messaging.nats import NatsBroker

        return NatsBroker(url, name=name, startup_timeout=startup_timeout)


def quiet() -> None:
    """Let commands that end soon say what they have to say by themselves."""
    logging.getLogger("carrick").setLevel(logging.ERROR)
