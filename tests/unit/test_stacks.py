from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from carrick import BreakerOptions, Context, EventSpec, Filter, MethodPolicy, RetryOptions, Service, Trace
from carrick.observe import ignore
from carrick.options import IdempotencyOptions, KeyRule
from carrick.policy.breaker import BreakerState
from carrick.stacks import client_stack, endpoint_stack, event_stack, server_stack
from carrick.testing import FakeClock
from shop.orders.v1.orders_carrick import ORDER_PLACED
from tests.unit.calls import KEYED, PLAIN, REPEATABLE, REQUEST, Scripted, first_attempt, half


class _Noting:
    """Instruments that note which of their filters were entered."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def call(self) -> Filter:
        return self._note("call")

    def attempt(self) -> Filter:
        return self._note("attempt")

    def server(self) -> Filter:
        return self._note("server")

    def process(self, spec: EventSpec[Any], consumer: str) -> Filter:
        return self._note(f"process by {consumer}")

    def created(self, spec: EventSpec[Any], event_id: str, ctx: Context | None) -> Trace | None:
        return None

    def send(self, subject: str, event_id: str, trace: Trace | None) -> AbstractContextManager[None]:
        return nullcontext()

    def _note(self, name: str) -> Filter:
        async def noting(request: Any, ctx: Context, service: Service) -> Any:
            self.notes.append(name)
            return await service(request, ctx)

        return noting
