"""``carrick outbox …``: how an outbox is doing, and what to do when something went wrong."""

import typer

from carrick.cli.outbox.quarantine import quarantine_commands
from carrick.cli.outbox.reconcile import reconcile
from carrick.cli.outbox.relay import relay
from carrick.cli.outbox.status import status

__all__ = ["outbox_commands"]

outbox_commands = typer.Typer(
    help="Look at a service's outbox, publish from it, and mend it after a disaster.", no_args_is_help=True
)
outbox_commands.command()(status)
outbox_commands.command()(relay)
outbox_commands.add_typer(quarantine_commands, name="quarantine")
outbox_commands.command()(reconcile)
