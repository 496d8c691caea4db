"""The outbox: an event is published if and only if the transaction that wrote it committed."""

from pathlib import Path

from carrick.outbox.relay import Relay, RelayOptions
from carrick.outbox.writer import Outbox
from carrick.store.migrations import Migrations

MIGRATIONS = Migrations("carrick.outbox", Path(__file__).parent / "sql")
"""The outbox table."""

__all__ = ["MIGRATIONS", "Outbox", "Relay", "RelayOptions"]
