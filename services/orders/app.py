"""The orders service as a process: ``carrick run services.orders``."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from carrick import outbox, store
from carrick.app import App
from carrick.messaging import GuardedBroker
from carrick.messaging.nats import NatsBroker
from carrick.observe import log, notify_all
from carrick.outbox import Outbox, OutboxWatch, Relay
from carrick.resource import Resource
from carrick.rpc import Channel, Server
from carrick.settings import ServiceSettings
from carrick.store import GuardedDatabase, Housekeeping, IdempotencyRecords, database_at
from carrick.telemetry.logs import configure_logs
from carrick.telemetry.metrics import metrics_from_environment
from carrick.telemetry.tracing import tracing_from_environment
from services.orders.fulfilment import Fulfilment
from services.orders.handlers import OrdersHandlers
from services.orders.recovery import Recovery
from services.orders.store import MIGRATIONS, OrderBook
from shop.inventory.v1.inventory_carrick import InventoryClient
from shop.orders.v1.orders_carrick import EVENTS, OrdersEvents
from shop.payments.v1.payments_carrick import PaymentsClient


class OrdersSettings(ServiceSettings):
    """Read from ``ORDERS_...``."""

    model_config = SettingsConfigDict(env_prefix="ORDERS_")

    inventory: str = "127.0.0.1:50052"
    payments: str = "127.0.0.1:50053"
    recover_after: Annotated[float, Field(gt=5)] = 6.0
    """Seconds; above the 5 that the contract gives a handler."""
    give_up_after: Annotated[float, Field(gt=5)] = 120.0


def app() -> App:
    """Put the service together."""
    settings = OrdersSettings.load()
    configure_logs("orders", level=settings.log_level, form=settings.log_form)
    tracing = tracing_from_environment("orders")
    metrics = metrics_from_environment("orders")
    own = database_at(
        settings.database,
        migrations=[store.MIGRATIONS, outbox.MIGRATIONS, MIGRATIONS],
        startup_timeout=settings.startup_timeout,
    )
    database_guard = Resource("database")
    database = GuardedDatabase(own, database_guard)
    nats = NatsBroker(settings.nats_url, name="orders", startup_timeout=settings.startup_timeout)
    broker_guard = Resource("broker")
    broker = GuardedBroker(nats, broker_guard)
    inventory = Channel(settings.inventory, instruments=tracing)
    payments = Channel(settings.payments, instruments=tracing)
    watch = OutboxWatch(database)
    observe = notify_all(log, metrics.outbox(watch)) if metrics else log
    relay = Relay(database, broker, events=EVENTS, observe=observe, instruments=tracing)
    records = IdempotencyRecords(database)
    book = OrderBook(database)
    fulfilment = Fulfilment(
        book,
        InventoryClient(inventory),
        PaymentsClient(payments),
        OrdersEvents(Outbox("orders", wake=relay.wake, instruments=tracing)),
    )
    recovery = Recovery(
        database,
        book,
        fulfilment,
        recover_after=settings.recover_after,
        give_up_after=settings.give_up_after,
    )
    server = Server(
        OrdersHandlers(database, book, fulfilment),
        host=settings.host,
        port=settings.port,
        claims=records,
        instruments=tracing,
        resources=[database_guard, broker_guard],
        grace=settings.grace,
    )
    return App(
        "orders",
        tracing,
        metrics,
        own,
        nats,
        inventory,
        payments,
        watch if metrics else None,
        Housekeeping(relay.purge),
        relay,
        recovery,
        server,
    )
