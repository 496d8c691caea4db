"""Options of the commands on dead letters."""

import time
from typing import Annotated

import typer

from carrick.cli.moments import moment
from carrick.messaging.letters import LetterSelection

__all__ = ["ConsumerName", "Limit", "Numbers", "selected"]

Numbers = Annotated[list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Numbers, as the list has them.")]
ConsumerName = Annotated[str | None, typer.Option("--consumer", metavar="NAME", help="Those of a consumer.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="How many at most, the oldest first.")]


def selected(
    numbers: list[int] | None,
    *,
    consumer: str | None,
    subject: str | None,
    event_type: str | None,
    key: str | None,
    reason: str | None,
    since: str | None,
    until: str | None,
) -> LetterSelection:
    """Return what options and arguments mean. Raises ``ConfigurationError``."""
    now = time.time()
    return LetterSelection(
        numbers=frozenset(numbers or ()),
        consumer=consumer,
        subject=subject,
        type=event_type,
        key=key,
        reason=reason,
        since=None if since is None else moment("--since", since, now=now),
        until=None if until is None else moment("--until", until, now=now),
    )
