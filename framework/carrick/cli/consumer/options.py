"""Options of the commands on consumers."""

from typing import Annotated

import typer

__all__ = ["Consumer", "Stream"]

Consumer = Annotated[str, typer.Argument(metavar="NAME", help="Name of the consumer.")]
Stream = Annotated[str, typer.Option("--stream", help="The stream that it consumes, like ORDERS.")]
