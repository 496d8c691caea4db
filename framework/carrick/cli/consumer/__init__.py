"""``carrick consumer …``: how a consumer is doing, and its events once more."""

import typer

from carrick.cli.consumer.replay import replay

__all__ = ["consumer_commands"]

consumer_commands = typer.Typer(help="Hand a consumer's events once more to its handlers.", no_args_is_help=True)


@consumer_commands.callback()
def _root() -> None:
    """Take the command's name, also while there is only one."""


consumer_commands.command()(replay)
