"""Where OpenTelemetry metrics go."""

import asyncio
from types import TracebackType
from typing import Self

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from carrick.messaging.subscriber import Subscriber
from carrick.outbox.watch import OutboxWatch
from carrick.telemetry.consumer_metrics import ConsumerMetrics
from carrick.telemetry.environment import exports
from carrick.telemetry.outbox_metrics import OutboxMetrics

__all__ = ["Metrics", "metrics_from_environment"]

_PATIENCE_MS = 5_000


class Metrics:
    """The metrics of a process: ``provider`` exports them. Closing it as a context manager sends the last values.

    ``provider`` is there for meters of your own.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self.provider = provider
        self._consumers: ConsumerMetrics | None = None

    def outbox(self, watch: OutboxWatch) -> OutboxMetrics:
        """Return an observer for a relay, which also tells what ``watch`` sees of its outbox."""
        return OutboxMetrics(self.provider, watch)

    def consumer(self, subscriber: Subscriber) -> None:
        """Tell of a subscriber too: what comes to it, what becomes of that, and how long it takes."""
        if self._consumers is None:
            self._consumers = ConsumerMetrics(self.provider)
        self._consumers.add(subscriber)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.provider.shutdown, _PATIENCE_MS)


def metrics_from_environment(service: str) -> Metrics | None:
    """Make metrics that are exported by OTLP when ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; None when it is not.

    OpenTelemetry's other variables hold too: they go out once a minute unless ``OTEL_METRIC_EXPORT_INTERVAL`` says
    otherwise, and ``OTEL_METRICS_EXPORTER=none`` turns them off.
    """
    if not exports("METRICS"):
        return None
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    return Metrics(MeterProvider([reader], resource=Resource.create({"service.name": service})))
