"""A program that imports generated modules, each in a process of its own, and calls every method that they have.

It reads pairs of a module and the names of its services from stdin, as JSON, and writes for each pair the numbers of
methods called, of events, and what went wrong. The generated modules are on the path that it is started with.
"""

import asyncio
import importlib
import json
import multiprocessing
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from carrick import Context, EventSpec, MethodKind, MethodSpec
from carrick.rpc import Channel, Server


def main() -> None:
    """Answer on stdout."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", r".* is deprecated by its contract", DeprecationWarning)
    pairs = json.load(sys.stdin)
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        json.dump(pool.map(_probe, pairs, chunksize=1), sys.stdout)


def _probe(pair: tuple[str, list[str]]) -> tuple[int, int, str]:
    name, service_names = pair
    try:
        module = importlib.import_module(name)
        for exported in module.__all__:
            getattr(module, exported)
        services = [descriptor_pool.Default().FindServiceByName(service) for service in service_names]
        return asyncio.run(_call_all(module, services)), _events(module), ""
    except Exception:  # noqa: BLE001 - whatever is wrong with a module is what the caller wants to know
        return 0, 0, traceback.format_exc()


async def _call_all(module: ModuleType, services: Sequence[ServiceDescriptor]) -> int:
    servicers = [_servicer(cls, service) for cls, service in zip(_servicers(module), services, strict=True)]
    pairs = [(cls, servicer) for cls, servicer in zip(_clients(module), servicers, strict=True) if _is_ours(servicer)]
    async with (
        Server(*(servicer for _, servicer in pairs), claims=NoClaims()) as server,
        Channel(server.address) as channel,
    ):
        bound = [(cls(channel), route) for cls, servicer in pairs for route in servicer.routes()]
        for client, route in bound:
            if not route.spec.keyed:
                await _call(getattr(client, route.handler.__name__), route.spec)
    return len(bound)


class NoClaims:
    """A claim store for methods with a key, which are not called."""

    async def claim(self, *arguments: object) -> Any:
        """Is not called."""
        raise AssertionError

    async def release(self, claim: object) -> None:
        """Is not called."""
        raise AssertionError


def _is_ours(servicer: Any) -> bool:
    """Tell whether a service is not one that the server itself answers."""
    return not any(route.spec.service.startswith(("grpc.health.", "grpc.reflection.")) for route in servicer.routes())


def _events(module: ModuleType) -> int:
    return sum(isinstance(value, EventSpec) for value in vars(module).values())


def _classes(module: ModuleType) -> Iterator[Any]:
    """Yield the classes that a module defines, in its order."""
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield value


def _servicers(module: ModuleType) -> list[Any]:
    return [cls for cls in _classes(module) if hasattr(cls, "routes")]


def _clients(module: ModuleType) -> list[Any]:
    return [cls for cls in _classes(module) if "channel" in getattr(cls.__init__, "__annotations__", ())]


def _servicer(cls: Any, service: ServiceDescriptor) -> Any:
    """Return a servicer that answers all methods, once its specifications are seen to be the contract's."""
    idle = type("Idle", (cls,), {name: _named(name, _idle) for name in cls.__abstractmethods__})()
    specs = {route.handler.__name__: route.spec for route in idle.routes()}
    assert [_of_spec(spec) for spec in specs.values()] == [_of_contract(method) for method in service.methods]
    return type("Answering", (cls,), {name: _named(name, _HANDLERS[spec.kind](spec)) for name, spec in specs.items()})()


def _of_spec(spec: MethodSpec[Any, Any]) -> tuple[object, ...]:
    types = spec.request.DESCRIPTOR.full_name, spec.response.DESCRIPTOR.full_name
    return spec.service, spec.name, *types, spec.streams_requests, spec.streams_responses


def _of_contract(method: MethodDescriptor) -> tuple[object, ...]:
    types = method.input_type.full_name, method.output_type.full_name
    return method.containing_service.full_name, method.name, *types, method.client_streaming, method.server_streaming


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def handler(self: Any, request: Any, ctx: Context) -> Any:
        return function(request)

    handler.__name__ = name
    return handler


def _idle(request: Any) -> Any:
    raise AssertionError


def _unary(spec: MethodSpec[Any, Any]) -> Callable[[Any], Any]:
    async def answer(request: Any) -> Any:
        assert isinstance(request, spec.request)
        return spec.response()

    return answer


def _client_stream(spec: MethodSpec[Any, Any]) -> Callable[[Any], Any]:
    async def answer(requests: AsyncIterator[Any]) -> Any:
        assert [type(request) async for request in requests] == [spec.request] * 2
        return spec.response()

    return answer


def _server_stream(spec: MethodSpec[Any, Any]) -> Callable[[Any], Any]:
    async def answer(request: Any) -> AsyncIterator[Any]:
        assert isinstance(request, spec.request)
        yield spec.response()

    return answer


def _bidi_stream(spec: MethodSpec[Any, Any]) -> Callable[[Any], Any]:
    async def answer(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            assert isinstance(request, spec.request)
            yield spec.response()

    return answer


_HANDLERS = {
    MethodKind.UNARY: _unary,
    MethodKind.CLIENT_STREAM: _client_stream,
    MethodKind.SERVER_STREAM: _server_stream,
    MethodKind.BIDI_STREAM: _bidi_stream,
}


async def _call(method: Any, spec: MethodSpec[Any, Any]) -> None:
    """Call a method with empty messages, and see the reply's type."""
    request = _two(spec.request) if spec.streams_requests else spec.request()
    if spec.streams_responses:
        replies = [reply async for reply in method(request)]
        assert len(replies) == 1 + spec.streams_requests
    else:
        replies = [await method(request)]
    assert all(isinstance(reply, spec.response) for reply in replies)


async def _two(message: type[Any]) -> AsyncIterator[Any]:
    yield message()
    yield message()


if __name__ == "__main__":
    main()
