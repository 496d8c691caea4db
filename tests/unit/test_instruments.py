from contextlib import AbstractContextManager, nullcontext
from typing import Any

from carrick import Context, EventSpec, Filter, Service, Trace
from carrick.instruments import Instruments


class _Nothing:
    """Instruments that do nothing, written without any base class."""

    def position(self, ctx: Context | None) -> Trace | None:
        return ctx.trace if ctx else None

    def call(self) -> Filter:
        return _pass

    def attempt(self) -> Filter:
        return _pass

    def server(self) -> Filter:
        return _pass

    def process(self, spec: EventSpec[Any], consumer: str) -> Filter:
        return _pass

    def created(self, spec: EventSpec[Any], event_id: str, ctx: Context | None) -> Trace | None:
        return None

    def send(self, subject: str, event_id: str, trace: Trace | None) -> AbstractContextManager[None]:
        return nullcontext()


async def _pass(request: Any, ctx: Context, service: Service) -> Any:
    return await service(request, ctx)


def test_anything_with_these_methods_will_do() -> None:
    """Instruments are a protocol: whoever brings another tracing library writes seven methods."""
    instruments: Instruments = _Nothing()

    assert instruments.call() is _pass
