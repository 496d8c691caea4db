"""``carrick consumer pause`` and ``carrick consumer resume``."""

import asyncio
import time
from typing import Annotated

import typer

from carrick.cli.consumer.options import Consumer, Stream
from carrick.cli.moments import duration, shown
from carrick.cli.options import NatsUrl, broker_at, quiet
from carrick.errors import ConfigurationError
from carrick.messaging.consumers import pause_consumer

__all__ = ["pause", "resume"]

_FOR_GOOD = 100 * 365 * 86_400.0


def pause(
    name: Consumer,
    nats: NatsUrl,
    stream: Stream,
    how_long: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long, like 30m; until `resume` unless told.")
    ] = None,
) -> None:
    """Deliver nothing more to a consumer, whichever processes run; what they have is finished.

    Parked events are handled meanwhile: they are with the service already.
    Dead letters that are sent again come, too.

    Exit status: 0 when it is paused, 1 when there is no such consumer or the
    broker could not be had, 2 when an option is wrong.

    Example:
      carrick consumer pause inventory --stream ORDERS --for 30m

    """
    quiet()
    seconds = _FOR_GOOD if how_long is None else duration("--for", how_long)
    if not 0 < seconds <= _FOR_GOOD:
        raise ConfigurationError(f"--for must be above 0 and a hundred years at most, not {how_long}")
    until = time.time() + seconds
    asyncio.run(_pause(nats, stream, name, until))
    typer.echo(f"{name} is paused until " + ("it is resumed" if how_long is None else shown(until)))


def resume(name: Consumer, nats: NatsUrl, stream: Stream) -> None:
    """Deliver to a consumer again.

    Exit status: 0 when it is not paused any more, 1 when there is no such
    consumer or the broker could not be had, 2 when an option is wrong.
    """
    quiet()
    asyncio.run(_pause(nats, stream, name, time.time() - 60.0))
    typer.echo(f"{name} goes on")


async def _pause(url: str, stream: str, name: str, until: float) -> None:
    async with broker_at(url, name="consumer") as broker:
        await pause_consumer(broker, stream, name, until)
