"""A real OTLP endpoint that keeps what it is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "collecting"]

_PACKAGE = "opentelemetry.proto.collector"


class Collector:
    """Keeps spans and metrics, each with the name of its service."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.metrics: list[tuple[str, Metric]] = []
        self.address = ""

    def metric(self, service: str, name: str) -> Metric:
        """Return what a service told last of one metric."""
        return [metric for owner, metric in self.metrics if (owner, metric.name) == (service, name)][-1]

    async def take_spans(self, request: Any, context: object) -> Any:
        """Answer the exporter of spans."""
        for resource in request.resource_spans:
            self.spans += [(_service(resource), span) for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    async def take_metrics(self, request: Any, context: object) -> Any:
        """Answer the exporter of metrics."""
        for resource in request.resource_metrics:
            self.metrics += [(_service(resource), each) for scope in resource.scope_metrics for each in scope.metrics]
        return metrics_service_pb2.ExportMetricsServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Listen on a port of its own."""
    collector = Collector()
    server = grpc.aio.server()
    spans = grpc.unary_unary_rpc_method_handler(
        collector.take_spans,
        request_deserializer=trace_service_pb2.ExportTraceServiceRequest.FromString,
        response_serializer=trace_service_pb2.ExportTraceServiceResponse.SerializeToString,
    )
    metrics = grpc.unary_unary_rpc_method_handler(
        collector.take_metrics,
        request_deserializer=metrics_service_pb2.ExportMetricsServiceRequest.FromString,
        response_serializer=metrics_service_pb2.ExportMetricsServiceResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(f"{_PACKAGE}.trace.v1.TraceService", {"Export": spans}),
            grpc.method_handlers_generic_handler(f"{_PACKAGE}.metrics.v1.MetricsService", {"Export": metrics}),
        )
    )
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)


def _service(resource: Any) -> str:
    names = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
    return str(names[0])
