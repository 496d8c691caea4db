"""What OpenTelemetry's standard variables ask for."""

import pytest

from carrick.telemetry.environment import exports
from carrick.telemetry.metrics import metrics_from_environment
from carrick.telemetry.tracing import tracing_from_environment


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_METRICS_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    for name in ("METRICS_EXPORTER", "TRACES_EXPORTER"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)


def test_without_an_endpoint_nothing_is_made() -> None:
    """Nothing is put into the stacks, nor counted, when nobody would get it."""
    assert tracing_from_environment("orders") is None
    assert metrics_from_environment("orders") is None


@pytest.mark.parametrize(
    ("variables", "signals"),
    [
        ({"EXPORTER_OTLP_ENDPOINT": "http://a"}, {"TRACES", "METRICS"}),
        ({"EXPORTER_OTLP_ENDPOINT": ""}, set()),
        ({"EXPORTER_OTLP_METRICS_ENDPOINT": "http://a"}, {"METRICS"}),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, {"TRACES"}),
        ({"EXPORTER_OTLP_ENDPOINT": "http://a", "METRICS_EXPORTER": "none"}, {"TRACES"}),
        ({"EXPORTER_OTLP_ENDPOINT": "http://a", "TRACES_EXPORTER": "none"}, {"METRICS"}),
        ({"METRICS_EXPORTER": "otlp"}, set()),
    ],
)
def test_an_endpoint_asks_for_it(variables: dict[str, str], signals: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The common one for all, a signal's own for that; and "none" turns one off."""
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    assert {signal for signal in ("TRACES", "METRICS") if exports(signal)} == signals
