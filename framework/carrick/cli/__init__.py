"""The ``carrick`` command."""

from carrick.cli.main import main

__all__ = ["main"]
