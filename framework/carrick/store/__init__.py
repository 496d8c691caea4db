"""Transactions, and what the framework keeps in a service's own database."""

from pathlib import Path

from carrick.store.housekeeping import Housekeeping
from carrick.store.idempotency import IdempotencyRecords
from carrick.store.inbox import Inbox
from carrick.store.migrations import Migrations
from carrick.store.transaction import Database, Result, Transaction

MIGRATIONS = Migrations("carrick.store", Path(__file__).parent / "sql")
"""The tables of idempotency records and inbox."""

__all__ = [
    "MIGRATIONS",
    "Database",
    "Housekeeping",
    "IdempotencyRecords",
    "Inbox",
    "Migrations",
    "Result",
    "Transaction",
]
