"""``carrick outbox relay``."""

import asyncio
import os
import socket
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from carrick import outbox
from carrick.app import App
from carrick.cli.options import DatabaseUrl, NatsUrl, broker_at
from carrick.observe import log, notify_all
from carrick.outbox import OutboxWatch, Relay, RelayOptions
from carrick.store.housekeeping import Housekeeping
from carrick.store.urls import database_at
from carrick.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from carrick.telemetry.metrics import Metrics
    from carrick.telemetry.tracing import OpenTelemetry

__all__ = ["relay"]

_SERVICE = "outbox-relay"
_DEFAULTS = RelayOptions()


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class LogForm(StrEnum):
    """For whom."""

    JSON = "json"
    TEXT = "text"


def relay(
    database: DatabaseUrl,
    nats: NatsUrl,
    name: Annotated[
        str | None, typer.Option(help="What `carrick outbox status` calls it; host:process unless told.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Events read, and published, at a time; 1000 at most.")] = _DEFAULTS.batch,
    poll: Annotated[float, typer.Option(help="Seconds between looks at an empty outbox.")] = _DEFAULTS.poll,
    lease: Annotated[
        float, typer.Option(help="Seconds until others take over from a relay that gives no sign of life.")
    ] = _DEFAULTS.lease,
    retention: Annotated[
        float, typer.Option(help="Seconds for which published events are kept; `reconcile` needs them.")
    ] = _DEFAULTS.retention,
    startup_timeout: Annotated[
        float, typer.Option(envvar="CARRICK_STARTUP_TIMEOUT", help="Seconds to wait for database and broker.")
    ] = 30.0,
    log_level: Annotated[
        LogLevel, typer.Option(envvar="CARRICK_LOG_LEVEL", help="How much is logged.")
    ] = LogLevel.INFO,
    log_form: Annotated[
        LogForm, typer.Option(envvar="CARRICK_LOG_FORM", help="How: for programs or for people.")
    ] = LogForm.JSON,
) -> None:
    """Publish what the outbox holds until SIGTERM or Ctrl-C, then what is left, for 5 seconds at most.

    Any number of relays may run on one database, in services and beside them:
    they share its partitions. On SQLite all are on one machine. It brings the
    outbox's tables up to date, and removes published events after the
    retention.

    Exit status: 0 after a clean stop, 1 when database or broker could not be
    had, 2 when an option is wrong.

    Examples:
      carrick outbox relay --database orders.db --nats nats://127.0.0.1:4222
      CARRICK_DATABASE_URL=postgresql://… CARRICK_NATS_URL=nats://… carrick outbox relay

    """
    configure_logs(_SERVICE, level=log_level.value, form=log_form.value)
    options = RelayOptions(batch=batch, poll=poll, lease=lease, retention=retention)
    store = database_at(database, migrations=[outbox.MIGRATIONS], startup_timeout=startup_timeout)
    broker = broker_at(nats, name=_SERVICE, startup_timeout=startup_timeout)
    tracing, metrics = _telemetry()
    watch = OutboxWatch(store)
    worker = Relay(
        store,
        broker,
        name=name or f"{socket.gethostname()}:{os.getpid()}",
        options=options,
        observe=notify_all(log, metrics.outbox(watch)) if metrics else log,
        instruments=tracing,
    )
    watched = watch if metrics else None
    asyncio.run(App(_SERVICE, tracing, metrics, store, broker, watched, Housekeeping(worker.purge), worker).run())


def _telemetry() -> "tuple[OpenTelemetry | None, Metrics | None]":
    """Return traces and metrics where OpenTelemetry is installed, and told where to export to."""
    try:
        from carrick.telemetry.metrics import metrics_from_environment
        from carrick.telemetry.tracing import tracing_from_environment
    except ModuleNotFoundError:
        return None, None
    return tracing_from_environment(_SERVICE), metrics_from_environment(_SERVICE)
