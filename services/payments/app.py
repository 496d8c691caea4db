"""The payments service as a process: ``carrick run services.payments``."""

from pathlib import Path

from pydantic_settings import SettingsConfigDict

from carrick import store
from carrick.app import App
from carrick.resource import Resource
from carrick.rpc import Server
from carrick.settings import ServiceSettings
from carrick.store import GuardedDatabase, IdempotencyRecords, database_at
from carrick.telemetry.logs import configure_logs
from carrick.telemetry.tracing import tracing_from_environment
from services.payments.bank import Bank
from services.payments.handlers import PaymentsHandlers
from services.payments.store import MIGRATIONS, Ledger


class PaymentsSettings(ServiceSettings):
    """Read from ``PAYMENTS_...``."""

    model_config = SettingsConfigDict(env_prefix="PAYMENTS_")

    bank: Path | None = None
    """Control file of the simulated bank."""


def app() -> App:
    """Put the service together."""
    settings = PaymentsSettings.load()
    configure_logs("payments", level=settings.log_level, form=settings.log_form)
    tracing = tracing_from_environment("payments")
    own = database_at(
        settings.database,
        migrations=[store.MIGRATIONS, MIGRATIONS],
        startup_timeout=settings.startup_timeout,
    )
    database_guard = Resource("database")
    database = GuardedDatabase(own, database_guard)
    records = IdempotencyRecords(database)
    server = Server(
        PaymentsHandlers(database, Ledger(), Bank(settings.bank)),
        host=settings.host,
        port=settings.port,
        claims=records,
        instruments=tracing,
        resources=[database_guard],
        grace=settings.grace,
    )
    return App("payments", tracing, own, server)
