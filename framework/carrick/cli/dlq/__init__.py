"""``carrick dlq …``: what consumers could not handle."""

import typer

from carrick.cli.dlq.changing import drop, redrive
from carrick.cli.dlq.looking import list_letters, show

__all__ = ["dlq_commands"]

dlq_commands = typer.Typer(
    help="Dead letters: look at what consumers could not handle, send it to them again, or drop it.",
    no_args_is_help=True,
)
dlq_commands.command("list")(list_letters)
dlq_commands.command()(show)
dlq_commands.command()(redrive)
dlq_commands.command()(drop)
