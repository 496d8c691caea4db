"""Streaming methods, and streams of messages, that many tests need."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeAlias

from carrick import IdempotencyLevel, MethodKind, MethodPolicy, MethodSpec
from shop.orders.v1.orders_pb2 import GetOrderResponse

Item: TypeAlias = GetOrderResponse


def streaming(
    kind: MethodKind,
    *,
    idempotency: IdempotencyLevel = IdempotencyLevel.UNKNOWN,
    policy: MethodPolicy | None = None,
) -> MethodSpec[Item, Item]:
    """Return a method of the service ``test.v1.Streams``."""
    return MethodSpec(
        service="test.v1.Streams",
        name=f"{kind.value.title().replace('_', '')}{idempotency.value.title().replace('_', '')}",
        request=Item,
        response=Item,
        kind=kind,
        idempotency=idempotency,
        policy=policy or MethodPolicy(),
    )


def item(number: int, size: int = 0) -> Item:
    """Return a message with a number, and about ``size`` bytes more."""
    return Item(total=number, order_id="x" * size)


async def items(count: int) -> AsyncIterator[Item]:
    """Yield messages numbered from 0."""
    for number in range(count):
        yield item(number)


async def numbers(stream: AsyncIterable[Item]) -> list[int]:
    """Return the numbers of all messages of a stream."""
    return [each.total async for each in stream]
