"""What OpenTelemetry's standard variables ask for."""

import os
from typing import Literal

__all__ = ["exports"]


def exports(signal: Literal["TRACES", "METRICS"]) -> bool:
    """Say whether a signal is to be exported by OTLP.

    It is where ``OTEL_EXPORTER_OTLP_ENDPOINT`` or the signal's own, ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT``, is set,
    unless ``OTEL_METRICS_EXPORTER`` or ``OTEL_TRACES_EXPORTER`` is ``none``.
    """
    endpoints = (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return any(os.environ.get(name) for name in endpoints) and os.environ.get(f"OTEL_{signal}_EXPORTER") != "none"
