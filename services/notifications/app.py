"""The notifications service as a process: ``carrick run services.notifications``."""

from pydantic_settings import SettingsConfigDict

from carrick import store
from carrick.app import App
from carrick.messaging import GuardedBroker, Subscriber
from carrick.messaging.nats import NatsBroker
from carrick.resource import Resource
from carrick.rpc import Channel, Server
from carrick.settings import ServiceSettings
from carrick.store import GuardedDatabase, Housekeeping, Inbox, database_at
from carrick.telemetry.logs import configure_logs
from carrick.telemetry.metrics import metrics_from_environment
from carrick.telemetry.tracing import tracing_from_environment
from services.notifications.handlers import NotificationsHandlers
from services.notifications.store import MIGRATIONS, Letters
from shop.orders.v1.orders_carrick import OrdersClient, on_order_placed


class NotificationsSettings(ServiceSettings):
    """Read from ``NOTIFICATIONS_...``."""

    model_config = SettingsConfigDict(env_prefix="NOTIFICATIONS_")

    orders: str = "127.0.0.1:50051"


def app() -> App:
    """Put the service together."""
    settings = NotificationsSettings.load()
    configure_logs("notifications", level=settings.log_level, form=settings.log_form)
    tracing = tracing_from_environment("notifications")
    metrics = metrics_from_environment("notifications")
    own = database_at(
        settings.database,
        migrations=[store.MIGRATIONS, MIGRATIONS],
        startup_timeout=settings.startup_timeout,
    )
    database_guard = Resource("database")
    database = GuardedDatabase(own, database_guard)
    nats = NatsBroker(settings.nats_url, name="notifications", startup_timeout=settings.startup_timeout)
    broker_guard = Resource("broker")
    broker = GuardedBroker(nats, broker_guard)
    orders = Channel(settings.orders, instruments=tracing)
    inbox = Inbox(database)
    handlers = NotificationsHandlers(database, Letters(), OrdersClient(orders))
    subscriber = Subscriber(
        "notifications",
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
        instruments=tracing,
        resources=[database_guard, broker_guard],
        grace=settings.grace,
    )
    return App("notifications", tracing, metrics, own, nats, orders, Housekeeping(inbox.purge), subscriber, server)
