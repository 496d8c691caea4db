"""``carrick consumer …``: how a consumer is doing, and its events once more."""

import typer

from carrick.cli.consumer.pausing import pause, resume
from carrick.cli.consumer.replay import replay
from carrick.cli.consumer.status import status

__all__ = ["consumer_commands"]

consumer_commands = typer.Typer(
    help="Look at a consumer, pause it, or hand its events once more to its handlers.", no_args_is_help=True
)
consumer_commands.command()(status)
consumer_commands.command()(pause)
consumer_commands.command()(resume)
consumer_commands.command()(replay)
