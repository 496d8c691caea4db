"""What OpenTelemetry is told of an outbox."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from carrick.observe import (
    BreakerClosed,
    EventExpired,
    EventQuarantined,
    EventsPublished,
    PartitionsChanged,
    PublishFailed,
)
from carrick.outbox.watch import OutboxSnapshot
from carrick.telemetry.outbox_metrics import OutboxMetrics

SNAPSHOT = OutboxSnapshot(depth=3, oldest_seconds=1.5, quarantined=1, lag_seconds=None, epochs=16, relays=2)


class Site:
    """Metrics with a reader and a snapshot that can be changed."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])
        self.snapshot: OutboxSnapshot | None = None
        self.metrics = OutboxMetrics(self.provider, lambda: self.snapshot)

    def read(self) -> dict[str, dict[str, float]]:
        """Return the values of all instruments, by reason where there is one; of a histogram its sum."""
        data = self.reader.get_metrics_data()
        found: dict[str, dict[str, float]] = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            for point in metric.data.data_points:
                reason = str((point.attributes or {}).get("reason", ""))
                value = getattr(point, "value", None)
                found.setdefault(metric.name.removeprefix("carrick.outbox."), {})[reason] = (
                    getattr(point, "sum", 0.0) if value is None else value
                )
        return found


@pytest.fixture
def site() -> Iterator[Site]:
    """Metrics of their own."""
    site = Site()
    yield site
    site.provider.shutdown()


def test_a_snapshot_is_read(site: Site) -> None:
    """Without one nothing is told, rather than old numbers."""
    assert not {"depth", "oldest", "quarantined", "relays", "lease.epochs", "lag"} & set(site.read())
    site.snapshot = SNAPSHOT
    found = site.read()
    assert found["depth"] == {"": 3}
    assert found["oldest"] == {"": 1.5}
    assert found["quarantined"] == {"": 1}
    assert found["relays"] == {"": 2}
    assert found["lease.epochs"] == {"": 16}
    assert "lag" not in found


def test_what_a_relay_tells_is_counted(site: Site) -> None:
    """Other observations pass."""
    for each in (
        EventsPublished(count=3),
        EventsPublished(count=40),
        EventExpired(event_id="1", subject="a"),
        PublishFailed(reason="away", delay=1.0),
        PartitionsChanged(held=8, taken=8, lost=0),
        BreakerClosed(method="m", endpoint="e"),
    ):
        site.metrics(each)
    found = site.read()
    assert found["published"] == {"": 43}
    assert found["batch"] == {"": 43}
    assert found["expired"] == {"": 1}
    assert found["publish_failures"] == {"": 1}
    assert found["lease.held"] == {"": 8}


def test_reasons_are_bounded(site: Site) -> None:
    """Subjects are left out of them, and beyond twenty they are one."""
    for number in range(30):
        reason = f"append to orders.p{number:02d}: larger than allowed"
        site.metrics(EventQuarantined(event_id="1", subject="a", reason=reason))
        site.metrics(EventQuarantined(event_id="1", subject="a", reason=f"reason {number}"))
    found = site.read()["refused"]
    assert found["larger than allowed"] == 30
    assert len(found) == 21
    assert found["other"] == 11
