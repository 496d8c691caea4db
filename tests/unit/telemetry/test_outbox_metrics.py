"""What OpenTelemetry is told of an outbox."""

from collections.abc import Iterator, Sequence
from math import inf

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric, NumberDataPoint

from carrick.observe import (
    BreakerClosed,
    EventExpired,
    EventQuarantined,
    EventsPublished,
    PartitionsChanged,
    PublishFailed,
)
from carrick.outbox import OutboxWatch
from carrick.outbox.watch import OutboxSnapshot
from carrick.store.sqlite import SqliteDatabase
from carrick.telemetry.outbox_metrics import OutboxMetrics

SNAPSHOT = OutboxSnapshot(depth=3, oldest_seconds=1.5, quarantined=1, epochs={0: 4, 11: 7}, relays=2)


class Site:
    """Metrics with a reader, and a watch that sees what it is told to."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])
        self.watch = OutboxWatch(SqliteDatabase("never-opened.db"))
        self.metrics = OutboxMetrics(self.provider, self.watch)

    def read(self) -> dict[str, dict[str, float]]:
        """Return the values of all instruments, by the value of their attribute where there is one."""
        return {
            metric.name.removeprefix("carrick.outbox."): {
                "".join(map(str, (point.attributes or {}).values())): point.value
                for point in metric.data.data_points
                if isinstance(point, NumberDataPoint)
            }
            for metric in self._metrics()
        }

    def histogram(self, name: str) -> dict[float, int]:
        """Return how much a histogram has in each bucket that is not empty, by its upper bound."""
        (point,) = next(each.data.data_points for each in self._metrics() if each.name == f"carrick.outbox.{name}")
        assert isinstance(point, HistogramDataPoint)
        bounds = zip([*point.explicit_bounds, inf], point.bucket_counts, strict=True)
        return {bound: count for bound, count in bounds if count}

    def _metrics(self) -> Sequence[Metric]:
        data = self.reader.get_metrics_data()
        return data.resource_metrics[0].scope_metrics[0].metrics if data else ()


@pytest.fixture
def site() -> Iterator[Site]:
    """Metrics of their own."""
    site = Site()
    yield site
    site.provider.shutdown()


def test_a_snapshot_is_read(site: Site) -> None:
    """Without one nothing is told, rather than old numbers."""
    assert not {"depth", "oldest", "quarantined", "relays", "lease.epoch"} & set(site.read())
    site.watch.snapshot = SNAPSHOT
    found = site.read()
    assert found["depth"] == {"": 3}
    assert found["oldest"] == {"": 1.5}
    assert found["quarantined"] == {"": 1}
    assert found["relays"] == {"": 2}
    assert found["lease.epoch"] == {"p00": 4, "p11": 7}


def test_what_a_relay_tells_is_counted(site: Site) -> None:
    """Other observations pass."""
    for each in (
        EventsPublished(count=3, ages=(0.004, 0.3, 0.4)),
        EventsPublished(count=40, ages=(3.0,) * 39 + (90_000.0,)),
        EventExpired(event_id="1", subject="a"),
        PublishFailed(reason="away", delay=1.0),
        PartitionsChanged(held=8, taken=8, lost=0),
        BreakerClosed(method="m", endpoint="e"),
    ):
        site.metrics(each)
    assert site.histogram("batch") == {5: 1, 50: 1}
    assert site.histogram("lag") == {0.005: 1, 0.5: 2, 5: 39, inf: 1}
    found = site.read()
    assert found["published"] == {"": 43}
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
