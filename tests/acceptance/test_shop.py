"""The shop as processes: one trace and one correlation id through all of them, and a stop that finishes its work."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from carrick import CarrickError, Code, Context
from carrick.context import enter
from carrick.rpc import Channel
from services.demo.stage import Stage
from services.demo.watch import read_progress
from shop.orders.v1.orders_carrick import OrdersClient
from shop.orders.v1.orders_pb2 import OrderLine, OrderStatus, PlaceOrderRequest
from tests.unit.testing.collector import Collector, collecting

TEA = PlaceOrderRequest(customer_id="ann", lines=[OrderLine(sku="tea", quantity=2, unit_price=350)])


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Listen for spans and metrics, and tell processes that are started now where to send them."""
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.address}")
        yield collector


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Prepare the shop, with some tea."""
    with Stage(tmp_path, {"tea": 100}) as stage:
        yield stage


async def quiet(stage: Stage) -> None:
    """Wait until every event had its effect."""
    async with asyncio.timeout(30):
        while not read_progress(stage).quiet:  # noqa: ASYNC110  # the databases of other processes
            await asyncio.sleep(0.05)


def rows(database: Path, query: str) -> list[Any]:
    """Read a service's database."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


async def test_one_correlation_id_and_one_trace_go_through_everything(stage: Stage, collector: Collector) -> None:
    """From the first call through RPC, outbox, NATS, consumer and the call that the consumer makes."""
    await asyncio.to_thread(stage.start)
    async with Channel(stage.orders_address) as channel:
        with enter(Context(None, correlation_id="the-very-first")):
            reply = await OrdersClient(channel).place_order(TEA)
    assert reply.status == OrderStatus.ORDER_STATUS_PLACED
    await quiet(stage)
    await asyncio.to_thread(stage.stop)

    assert rows(stage.database("notifications"), "SELECT correlation_id FROM notifications") == [("the-very-first",)]
    headers = json.loads(rows(stage.database("orders"), "SELECT headers FROM carrick_outbox")[0][0])
    assert headers["ce-correlationid"] == "the-very-first"

    spans = {(service, span.name): span for service, span in collector.spans}
    place = spans["orders", "shop.orders.v1.Orders/PlaceOrder"]
    for callee, method in (
        ("inventory", "shop.inventory.v1.Inventory/Reserve"),
        ("payments", "shop.payments.v1.Payments/Charge"),
    ):
        call, attempt, handled = spans["orders", method], spans["orders", f"Attempt.{method}"], spans[callee, method]
        assert call.parent_span_id == place.span_id
        assert attempt.parent_span_id == call.span_id
        assert handled.parent_span_id == attempt.span_id
        assert handled.trace_id == place.trace_id
    create = spans["orders", "create orders.placed.v1"]
    assert create.parent_span_id == place.span_id
    for consumer in ("inventory", "notifications"):
        process = spans[consumer, "process orders.placed.v1"]
        assert process.trace_id != place.trace_id
        assert [link.span_id for link in process.links] == [create.span_id]
    asked = spans["orders", "shop.orders.v1.Orders/GetOrder"]
    assert asked.trace_id == spans["notifications", "process orders.placed.v1"].trace_id
    correlation = {each.key: each.value.string_value for each in asked.attributes}["carrick.correlation_id"]
    assert correlation == "the-very-first"

    published = collector.metric("orders", "carrick.outbox.published")
    assert [point.as_int for point in published.sum.data_points] == [1]
    (lag,) = collector.metric("orders", "carrick.outbox.lag").histogram.data_points
    assert (lag.count, lag.sum > 0) == (1, True)


async def test_every_log_line_of_a_call_has_its_correlation_id(stage: Stage) -> None:
    """A call that fails downstream is found in the logs of both services under the caller's id."""
    await asyncio.to_thread(stage.start)
    stage.set_bank(failing=True)
    async with Channel(stage.orders_address) as channel:
        with enter(Context(None, correlation_id="find-me")), pytest.raises(CarrickError) as raised:
            await OrdersClient(channel).place_order(TEA, timeout=1.0)
    assert raised.value.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    await asyncio.to_thread(stage.stop)
    for name in ("orders", "payments"):
        lines = [json.loads(line) for line in stage.services[name].log.read_text().splitlines()]
        during = [line for line in lines if line.get("correlation_id")]
        assert during, name
        assert {line["correlation_id"] for line in during} == {"find-me"}


async def test_a_stop_finishes_the_running_call_and_publishes_its_event(stage: Stage) -> None:
    """SIGTERM in the middle of an order: the customer gets the reply, the event is published, the exit is clean."""
    await asyncio.to_thread(stage.start)
    stage.set_bank(latency=0.8)
    async with Channel(stage.orders_address) as channel:
        order = asyncio.create_task(OrdersClient(channel).place_order(TEA))
        async with asyncio.timeout(10):
            while read_progress(stage)["pending"] == 0:  # noqa: ASYNC110  # the database of another process
                await asyncio.sleep(0.01)
        stage.services["orders"].ask_to_stop()
        reply = await order
    assert reply.status == OrderStatus.ORDER_STATUS_PLACED
    assert await asyncio.to_thread(stage.services["orders"].wait) == 0
    progress = read_progress(stage)
    assert (progress["committed"], progress["unpublished"], progress["pending"]) == (1, 0, 0)


async def test_an_order_that_a_crash_left_pending_is_recovered(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders is killed between intent and outcome, the customer never calls again, and the order is still placed."""
    monkeypatch.setenv("ORDERS_RECOVER_AFTER", "5.1")
    await asyncio.to_thread(stage.start)
    stage.set_bank(latency=1.0)
    async with Channel(stage.orders_address) as channel:
        order = asyncio.create_task(OrdersClient(channel).place_order(TEA, timeout=1.5))
        async with asyncio.timeout(10):
            while read_progress(stage)["pending"] == 0:  # noqa: ASYNC110  # the database of another process
                await asyncio.sleep(0.01)
        stage.services["orders"].kill()
        with pytest.raises(CarrickError):
            await order
    stage.set_bank()
    await asyncio.to_thread(stage.services["orders"].start)
    async with asyncio.timeout(20):
        while read_progress(stage)["committed"] == 0:  # noqa: ASYNC110  # the database of another process
            await asyncio.sleep(0.05)
    await quiet(stage)
    assert rows(stage.database("orders"), "SELECT status FROM orders") == [("PLACED",)]
    assert rows(stage.database("payments"), "SELECT status FROM charges") == [("CAPTURED",)]


async def test_a_refused_order_gives_back_what_it_took_even_after_a_crash(stage: Stage) -> None:
    """Inventory dies before it can be told of a refusal, then orders dies too; the stock comes back all the same."""
    await asyncio.to_thread(stage.start)
    stage.set_bank(latency=0.8)
    broke = PlaceOrderRequest(customer_id="broke-ann", lines=TEA.lines)
    async with Channel(stage.orders_address) as channel:
        order = asyncio.create_task(OrdersClient(channel).place_order(broke))
        async with asyncio.timeout(10):
            while not rows(stage.database("payments"), "SELECT 1 FROM carrick_idempotency"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        stage.services["inventory"].kill()
        reply = await order
    assert reply.status == OrderStatus.ORDER_STATUS_REFUSED
    assert read_progress(stage)["compensations"] == 1
    stage.services["orders"].kill()
    await asyncio.to_thread(stage.services["inventory"].start)
    await asyncio.to_thread(stage.services["orders"].start)
    await quiet(stage)
    assert rows(stage.database("inventory"), "SELECT available FROM stock") == [(100,)]
    assert rows(stage.database("inventory"), "SELECT status FROM reservations") == [("RELEASED",)]
