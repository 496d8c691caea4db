"""Transactions, and what the framework keeps in a service's own database."""

from pathlib import Path
from typing import TYPE_CHECKING

from carrick._on_demand import on_demand
from carrick.store.any_transaction import AnyTransaction, AnyTransactionSync
from carrick.store.dialect import Dialect, Sql
from carrick.store.migrations import Migrations
from carrick.store.transaction import Database, Result, Transaction
from carrick.store.urls import database_at

if TYPE_CHECKING:
    from carrick.store.guarded import GuardedDatabase
    from carrick.store.housekeeping import Housekeeping
    from carrick.store.idempotency import IdempotencyRecords
    from carrick.store.inbox import Inbox
    from carrick.store.parking import Parking
    from carrick.store.sync_transaction import SyncTransaction
else:
    __getattr__ = on_demand(
        __name__,
        GuardedDatabase="carrick.store.guarded",
        Housekeeping="carrick.store.housekeeping",
        IdempotencyRecords="carrick.store.idempotency",
        Inbox="carrick.store.inbox",
        Parking="carrick.store.parking",
        SyncTransaction="carrick.store.sync_transaction",
    )

MIGRATIONS = Migrations("carrick.store", Path(__file__).parent / "sql")
"""The tables of idempotency records, inbox and parked events."""

__all__ = [
    "MIGRATIONS",
    "AnyTransaction",
    "AnyTransactionSync",
    "Database",
    "Dialect",
    "GuardedDatabase",
    "Housekeeping",
    "IdempotencyRecords",
    "Inbox",
    "Migrations",
    "Parking",
    "Result",
    "Sql",
    "SyncTransaction",
    "Transaction",
    "database_at",
]
