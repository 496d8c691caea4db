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
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from carrick import Context, EventSpec, MethodKind, MethodSpec
from carrick.rpc import BlockingChannel, Channel, Server


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
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a module is what the caller wants to know
        return 0, 0, "".join(traceback.format_exception(error, limit=-1)).rstrip()


async def _call_all(module: ModuleType, services: Sequence[ServiceDescriptor]) -> int:
    """Serve all services and call each method, by both clients; return how many there are."""
    servicers = [_servicer(cls, service) for cls, service in zip(_servicers(module), services, strict=True)]
    clients, blocking = _clients(module, Channel), _clients(module, BlockingChannel)
    trios = [trio for trio in zip(servicers, clients, blocking, strict=True) if _is_ours(trio[0])]
    async with Server(*(servicer for servicer, _, _ in trios), claims=NoClaims()) as server:
        async with Channel(server.address) as channel:
            for servicer, client, _ in trios:
                await _call_client(client(channel), servicer)
        for servicer, _, client in trios:
            await asyncio.to_thread(_call_blocking_client, client, server.address, servicer)
    for fake, servicer in zip(_fakes(module), servicers, strict=True):
        assert _specs(vars(fake()).values()) == [route.spec for route in servicer.routes()]
    return sum(len(servicer.routes()) for servicer, _, _ in trios)


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


def _clients(module: ModuleType, channel: type[object]) -> list[Any]:
    return [cls for cls in _classes(module) if getattr(cls.__init__, "__annotations__", {}).get("channel") is channel]


def _fakes(module: ModuleType) -> list[Any]:
    if not _servicers(module):
        return []
    return list(_classes(importlib.import_module(f"{module.__name__}_fakes")))


def _specs(values: Iterable[Any]) -> list[MethodSpec[Any, Any]]:
    """Return the methods of those that are fakes of one."""
    return [value.method for value in values if isinstance(getattr(value, "method", None), MethodSpec)]


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


async def _call_client(client: Any, servicer: Any) -> None:
    """Call all methods with empty messages, and see the type of the replies."""
    for method, spec in _callable(client, servicer):
        request = _two(spec.request) if spec.streams_requests else spec.request()
        if spec.streams_responses:
            _check_replies(spec, [reply async for reply in method(request)])
        else:
            _check_replies(spec, [await method(request)])


def _call_blocking_client(cls: Any, address: str, servicer: Any) -> None:
    with BlockingChannel(address) as channel:
        for method, spec in _callable(cls(channel), servicer):
            request = [spec.request()] * 2 if spec.streams_requests else spec.request()
            _check_replies(spec, list(method(request)) if spec.streams_responses else [method(request)])


def _callable(client: Any, servicer: Any) -> Iterator[tuple[Callable[..., Any], MethodSpec[Any, Any]]]:
    for route in servicer.routes():
        if not route.spec.keyed:
            yield getattr(client, route.handler.__name__), route.spec


def _check_replies(spec: MethodSpec[Any, Any], replies: Sequence[Any]) -> None:
    assert all(isinstance(reply, spec.response) for reply in replies)
    assert len(replies) == 1 + (spec.streams_requests and spec.streams_responses)


async def _two(message: type[Any]) -> AsyncIterator[Any]:
    yield message()
    yield message()


if __name__ == "__main__":
    main()
