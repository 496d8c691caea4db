"""``carrick dlq list`` and ``carrick dlq show``."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from carrick.cli.dlq.options import ConsumerName, Limit, Numbers, selected
from carrick.cli.moments import shown
from carrick.cli.options import AsJson, Key, NatsUrl, Reason, Since, Subject, Type, Until, broker_at, quiet
from carrick.cli.terminal import dump, printable, table
from carrick.errors import Code, MessagingError
from carrick.messaging.letters import DeadLetter, LetterSelection
from carrick.messaging.redrive import Redrive

__all__ = ["list_letters", "show"]

_MOST = 100


def list_letters(
    nats: NatsUrl,
    numbers: Numbers = None,
    consumer: ConsumerName = None,
    subject: Subject = None,
    event_type: Type = None,
    key: Key = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = _MOST,
    as_json: AsJson = False,
) -> None:
    """List what consumers could not handle, the oldest first, and why. Filters narrow each other.

    Only reads. Numbers are the letters' own: `show`, `redrive` and `drop` take
    them. Times are UTC, by the broker's clock.

    Exit status: 0, also when there are none; 1 when the broker could not be
    had, 2 when an option is wrong.

    Examples:
      carrick dlq list --consumer inventory --since 2h
      carrick dlq list --reason "no such article" --json | jq .[].key

    """
    quiet()
    selection = selected(
        numbers,
        consumer=consumer,
        subject=subject,
        event_type=event_type,
        key=key,
        reason=reason,
        since=since,
        until=until,
    )
    found, total = asyncio.run(_list(nats, selection, limit or _MOST))
    if as_json:
        typer.echo(json.dumps([_fields(letter) for letter in found], indent=2))
        return
    if found:
        rows = [_row(letter) for letter in found]
        heads = ("number", "dead since", "consumer", "event", "key", "tries", "reason")
        typer.echo("\n".join(table(heads, rows)))
    typer.echo(f"{total} dead letters" + (f", {len(found)} shown" if len(found) < total else ""))


async def _list(url: str, selection: LetterSelection, most: int) -> tuple[list[DeadLetter], int]:
    found: list[DeadLetter] = []
    total = 0
    async with broker_at(url, name="dlq") as broker:
        async for letter in Redrive(broker).selected(selection):
            total += 1
            if total <= most:
                found.append(letter)
    return found, total


def show(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the letter.")],
    nats: NatsUrl,
    data: Annotated[
        bool, typer.Option("--data", help="Show the event's bytes too: they may hold what is secret.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter with its headers, why it could not be handled, and where in the handler that was.

    With --data its bytes are shown as text where they are text, otherwise in
    hexadecimal; as JSON in base64.

    Exit status: 0 when it was shown, 1 when there is none of that number or the
    broker could not be had, 2 when an option is wrong.
    """
    quiet()
    letter = asyncio.run(_show(nats, number, whole=data))
    if as_json:
        more: dict[str, Any] = {"headers": dict(letter.headers), "stack": _frames(letter)}
        if data:
            more["data"] = base64.b64encode(letter.data).decode()
        typer.echo(json.dumps(_fields(letter) | more, indent=2))
        return
    typer.echo("\n".join(_lines(letter, data=data)))


async def _show(url: str, number: int, *, whole: bool) -> DeadLetter:
    async with broker_at(url, name="dlq") as broker:
        redrive = Redrive(broker)
        letter = await redrive.letter(number)
        if letter is None:
            raise MessagingError(Code.NOT_FOUND, f"no dead letter has the number {number}; see: carrick dlq list")
        return await redrive.whole(letter) if whole else letter


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": letter.number,
        "dead_at": letter.dead_at,
        "consumer": letter.consumer,
        "stream": letter.stream,
        "sequence": letter.sequence,
        "subject": letter.subject,
        "type": letter.type,
        "key": letter.key,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "data_bytes": len(letter.data),
        "left_out": letter.left_out,
    }


def _row(letter: DeadLetter) -> tuple[str, ...]:
    texts = (letter.consumer, letter.type or letter.subject, letter.key)
    named = [printable(text) or "-" for text in texts]
    return (str(letter.number), shown(letter.dead_at), *named, str(letter.attempts), printable(letter.reason))


def _lines(letter: DeadLetter, *, data: bool) -> Iterator[str]:
    for name, value in _fields(letter).items():
        if name == "dead_at":
            yield f"{name:<12}{shown(letter.dead_at)}"
        elif name == "data_bytes" and letter.left_out:
            yield f"{name:<12}left out, too large to be kept twice; it is in {printable(letter.stream)}"
        elif name != "left_out":
            yield f"{name:<12}{printable(str(value))}"
    for name, value in letter.headers.items():
        yield f"header      {printable(name)}: {printable(value)}"
    for frame in _frames(letter):
        yield f"stack       {printable(frame)}"
    if data:
        yield from (f"data        {line}" for line in dump(letter.data))


def _frames(letter: DeadLetter) -> list[str]:
    return letter.stack.split(" | ") if letter.stack else []
