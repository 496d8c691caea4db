"""``carrick dlq redrive`` and ``carrick dlq drop``."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field

import typer

from carrick.cli.dlq.options import ConsumerName, Limit, Numbers, selected
from carrick.cli.options import (
    AsJson,
    DryRun,
    Everything,
    Key,
    NatsUrl,
    Rate,
    Reason,
    Since,
    Subject,
    Type,
    Until,
    Yes,
    broker_at,
    quiet,
)
from carrick.cli.terminal import ProgressLine
from carrick.errors import ConfigurationError, MessagingError
from carrick.guard import is_outage
from carrick.messaging.letters import DeadLetter, LetterSelection
from carrick.messaging.redrive import Redrive
from carrick.pace import Pace

__all__ = ["drop", "redrive"]

_RATE = 100.0
_OUTAGES = 3  # failures in a row that say that the broker is away


def redrive(
    nats: NatsUrl,
    numbers: Numbers = None,
    everything: Everything = False,
    consumer: ConsumerName = None,
    subject: Subject = None,
    event_type: Type = None,
    key: Key = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    rate: Rate = _RATE,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, each to the consumer that could not handle it, and to no other.

    What waits behind one comes after it. What had its effect meanwhile has none
    again where the consumer has an inbox. What can't be handled once more is a
    dead letter again, of a higher number. Filters narrow each other.

    100 a second are sent unless --rate says otherwise: few are sent at once,
    and many do not crowd out what is new.

    Exit status: 0, also when there was none; 1 when the broker could not be
    had, a number is no dead letter's or one could not be sent, 2 when an option
    is wrong.

    Examples:
      carrick dlq redrive 17 18
      carrick dlq redrive --consumer inventory --reason timeout --dry-run

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
    job = _Job("sent again", Redrive.send_again, _checked(selection, everything=everything), limit, rate)
    _do(nats, job, dry_run=dry_run, ask=False, as_json=as_json)


def drop(
    nats: NatsUrl,
    numbers: Numbers = None,
    everything: Everything = False,
    consumer: ConsumerName = None,
    subject: Subject = None,
    event_type: Type = None,
    key: Key = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    rate: Rate = _RATE,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget dead letters: their consumers never handle them, and what waits behind them goes on.

    There is no way back, save by a replay of the stream. More than one are
    dropped only after a question, or with --yes. Filters narrow each other.

    Exit status: 0, also when there was none; 1 when the broker could not be
    had, the answer was no, a number is no dead letter's or one could not be
    dropped, 2 when an option is wrong.

    Example:
      carrick dlq drop --consumer inventory --until 30d --dry-run

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
    job = _Job("dropped", Redrive.drop, _checked(selection, everything=everything), limit, rate)
    _do(nats, job, dry_run=dry_run, ask=not yes, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be done with which letters."""

    done: str
    change: Callable[[Redrive, DeadLetter], Awaitable[None]]
    selection: LetterSelection
    limit: int | None
    rate: float


@dataclass(slots=True)
class _Outcome:
    """What became of them, by consumer."""

    _: KW_ONLY
    total: int = 0
    done: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)
    stopped: str = ""


def _checked(selection: LetterSelection, *, everything: bool) -> LetterSelection:
    if everything is not selection.everything:
        raise ConfigurationError("say which letters: numbers or filters like --consumer; or --all, alone")
    return selection


def _do(url: str, job: _Job, *, dry_run: bool, ask: bool, as_json: bool) -> None:
    outcome = asyncio.run(_change(url, job, dry_run=dry_run, ask=ask))
    if as_json:
        numbers = {"letters": outcome.done.total(), "consumers": outcome.done, "failed": outcome.failed}
        typer.echo(json.dumps({**numbers, "dry_run": dry_run}, indent=2))
    else:
        for consumer, count in sorted(outcome.done.items()):
            typer.echo(f"{consumer}  {count}")
        typer.echo(f"{outcome.done.total()} {'would be' if dry_run else 'are'} {job.done}{_rest(outcome)}")
    if outcome.stopped:
        typer.echo(f"carrick: {outcome.stopped}", err=True)
    raise typer.Exit(1 if outcome.failed else 0)


def _rest(outcome: _Outcome) -> str:
    left = outcome.total - outcome.done.total() - len(outcome.failed)
    return (f", {len(outcome.failed)} failed" if outcome.failed else "") + (f", {left} left" if left else "")


async def _change(url: str, job: _Job, *, dry_run: bool, ask: bool) -> _Outcome:
    async with broker_at(url, name="dlq") as broker:
        redrive = Redrive(broker)
        chosen = await _chosen(redrive, job)  # all of them first: what fails once more is not taken again
        outcome = _Outcome(total=len(chosen))
        for number in sorted(set(job.selection.numbers) - chosen.keys()):
            outcome.total += 1
            _failed(outcome, number, "is no dead letter, or the filters leave it out; see: carrick dlq list")
        if dry_run:
            outcome.done = Counter(chosen.values())
            return outcome
        if ask and len(chosen) > 1:
            await asyncio.to_thread(_confirm, len(chosen))
        await _each(redrive, job, list(chosen), outcome)
        return outcome


async def _chosen(redrive: Redrive, job: _Job) -> dict[int, str]:
    """Return the numbers that are meant, and their consumers."""
    chosen: dict[int, str] = {}
    async for letter in redrive.selected(job.selection):
        if job.limit is not None and len(chosen) >= job.limit:
            break
        chosen[letter.number] = letter.consumer
    return chosen


async def _each(redrive: Redrive, job: _Job, numbers: list[int], outcome: _Outcome) -> None:
    pace, line, outages = Pace(job.rate), ProgressLine(), 0
    for number in numbers:
        await pace.wait()
        try:
            letter = await redrive.letter(number)
            if letter is not None:  # or somebody else was here
                await job.change(redrive, letter)
                outcome.done[letter.consumer] += 1
            outages = 0
        except MessagingError as error:
            line.clear()
            _failed(outcome, number, error.message)
            outages = outages + 1 if is_outage(error) else 0
            if outages == _OUTAGES:
                outcome.stopped = "the broker is away, so the rest was left; run the same command again"
                break
        line.show(f"{outcome.done.total()} of {outcome.total} {job.done}")
    line.clear()


def _failed(outcome: _Outcome, number: int, reason: str) -> None:
    outcome.failed[number] = reason
    typer.echo(f"{number}: {reason}", err=True)


def _confirm(letters: int) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{letters} letters would be dropped; say --yes, or look with --dry-run first")
    typer.confirm(f"drop {letters} dead letters for good?", abort=True, err=True)
