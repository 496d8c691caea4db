"""The outbox: an event is published if and only if the transaction that wrote it committed."""

from pathlib import Path
from typing import TYPE_CHECKING

from carrick._on_demand import on_demand
from carrick.outbox.writer import Outbox
from carrick.store.migrations import Migrations

if TYPE_CHECKING:
    from carrick.outbox.relay import Relay, RelayOptions
    from carrick.outbox.watch import OutboxWatch
else:
    __getattr__ = on_demand(
        __name__,
        OutboxWatch="carrick.outbox.watch",
        Relay="carrick.outbox.relay",
        RelayOptions="carrick.outbox.relay",
    )

MIGRATIONS = Migrations("carrick.outbox", Path(__file__).parent / "sql")
"""The outbox table."""

__all__ = ["MIGRATIONS", "Outbox", "OutboxWatch", "Relay", "RelayOptions"]
