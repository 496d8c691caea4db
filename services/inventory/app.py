"""The inventory service as a process: ``carrick run services.inventory``."""

from pydantic import Field, NonNegativeInt
from pydantic_settings import SettingsConfigDict

from carrick import store
from carrick.app import App
from carrick.messaging import GuardedBroker, Subscriber
from carrick.messaging.nats import NatsBroker
from carrick.resource import Resource
from carrick.rpc import Server
from carrick.settings import ServiceSettings
from carrick.store import GuardedDatabase, Housekeeping, IdempotencyRecords, Inbox, database_at
from carrick.telemetry.logs import configure_logs
from carrick.telemetry.metrics import metrics_from_environment
from carrick.telemetry.tracing import tracing_from_environment
from services.inventory.handlers import InventoryHandlers, stocked
from services.inventory.store import MIGRATIONS, Shelves
from shop.orders.v1.orders_carrick import on_order_placed


class InventorySettings(ServiceSettings):
    """Read from ``INVENTORY_...``."""

    model_config = SettingsConfigDict(env_prefix="INVENTORY_")

    stock: dict[str, NonNegativeInt] = Field(default_factory=dict)
    """First delivery of each article, as JSON: ``{"tea": 500}``."""


def app() -> App:
    """Put the service together."""
    settings = InventorySettings.load()
    configure_logs("inventory", level=settings.log_level, form=settings.log_form)
    tracing = tracing_from_environment("inventory")
    metrics = metrics_from_environment("inventory")
    own = database_at(
        settings.database,
        migrations=[store.MIGRATIONS, MIGRATIONS],
        startup_timeout=settings.startup_timeout,
    )
    database_guard = Resource("database")
    database = GuardedDatabase(own, database_guard)
    nats = NatsBroker(settings.nats_url, name="inventory", startup_timeout=settings.startup_timeout)
    broker_guard = Resource("broker")
    broker = GuardedBroker(nats, broker_guard)
    records = IdempotencyRecords(database)
    inbox = Inbox(database)
    shelves = Shelves()
    handlers = InventoryHandlers(database, shelves)
    subscriber = Subscriber(
        "inventory",
        broker,
        [on_order_placed(handlers.order_placed)],
        inbox=inbox,
        instruments=tracing,
        grace=settings.grace,
    )
    if metrics:
        metrics.consumer(subscriber)
    server = Server(
        handlers,
        host=settings.host,
        port=settings.port,
        claims=records,
        instruments=tracing,
        resources=[database_guard, broker_guard],
        grace=settings.grace,
    )
    return App(
        "inventory",
        tracing,
        metrics,
        own,
        stocked(database, shelves, settings.stock),
        nats,
        Housekeeping(inbox.purge),
        subscriber,
        server,
    )
