"""Uses all that generated modules have, over real gRPC and through the fakes: ``python -m tests.codegen.exercise``.

Arguments are the names of modules ``..._carrick``. For each service a servicer is implemented; the asynchronous client,
the blocking client and bare grpc.aio call each of its methods, and the fake's clients call the fake. Each event is
published, and handled by routes of both kinds. The last line says how many of all these there were.
"""

import asyncio
import inspect
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from carrick import MethodKind, MethodRoute, MethodSpec
from carrick.claim import Claim, Claimed
from carrick.rpc import BlockingChannel, Channel, Server
from tests.codegen.exercise_events import check_routes, exercise_events
from tests.codegen.filling import filled

MESSAGES = 3
"""How many a stream has."""

_GRPC = {
    MethodKind.UNARY: "unary_unary",
    MethodKind.CLIENT_STREAM: "stream_unary",
    MethodKind.SERVER_STREAM: "unary_stream",
    MethodKind.BIDI_STREAM: "stream_stream",
}
Spec = MethodSpec[Any, Any]


class Claims:
    """Gives every key."""

    async def claim(self, method: Spec, key: str, fingerprint: bytes, lease: float) -> Claimed:
        """Claim it."""
        claim = Claim(method, key, "token")
        claim.fulfil()  # as a handler's transaction would
        return Claimed(claim)

    async def release(self, claim: Claim) -> None:
        """Is not called: all claims are fulfilled."""
        raise AssertionError

    async def renew(self, claim: Claim, lease: float) -> bool:
        """Find nothing left to hold: all claims are fulfilled."""
        return False

    async def refuse(self, claim: Claim, status: bytes) -> bool:
        """Is not called: all claims are fulfilled."""
        raise AssertionError

    async def purge(self, most: int = 500) -> int:
        """Have nothing to remove."""
        return 0


def handler_of(spec: Spec) -> Callable[..., Any]:
    """Return a method of a servicer that reads all requests and sends what the contract says."""

    async def read(self: object, requests: Any) -> None:
        if spec.streams_requests:
            received = [each async for each in requests]
            assert [type(each) for each in received] == [spec.request] * MESSAGES, received
        else:
            assert type(requests) is spec.request, requests

    async def respond(self: object, request: Any, ctx: Any) -> Message:
        await read(self, request)
        return filled(spec.response)

    async def stream(self: object, request: Any, ctx: Any) -> AsyncIterator[Message]:
        await read(self, request)
        for _ in range(MESSAGES):
            yield filled(spec.response)

    return stream if spec.streams_responses else respond


def check(spec: Spec, replies: list[Any]) -> None:
    """See that the right number of the right messages came."""
    expected = MESSAGES if spec.streams_responses else 1
    assert [type(each) for each in replies] == [spec.response] * expected, (spec.full_name, replies)


async def call(spec: Spec, method: Callable[..., Any], **arguments: Any) -> None:
    """Make a call with an asynchronous client, or with grpc's own."""

    async def requests() -> AsyncIterator[Message]:
        for _ in range(MESSAGES):
            yield filled(spec.request)

    reply = method(requests() if spec.streams_requests else filled(spec.request), **arguments)
    check(spec, [each async for each in reply] if spec.streams_responses else [await reply])


def call_and_wait(spec: Spec, method: Callable[..., Any]) -> None:
    """Make a call with a blocking client."""
    requests = iter([filled(spec.request) for _ in range(MESSAGES)])
    reply = method(requests if spec.streams_requests else filled(spec.request))
    check(spec, list(reply) if spec.streams_responses else [reply])


def classes_of(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the classes that a module exports, with their names."""
    for name in module.__all__:
        if inspect.isclass(exported := getattr(module, name)):
            yield name, exported


def servicers(module: ModuleType) -> Iterator[Any]:
    """Implement every abstract servicer of a module."""
    for name, abstract in classes_of(module):
        if hasattr(abstract, "routes"):
            routes: list[MethodRoute[Any, Any]] = list(abstract.routes(_Names()))
            methods = {str(route.handler): handler_of(route.spec) for route in routes}
            assert abstract.__abstractmethods__ == set(methods)
            yield type(name, (abstract,), methods)()


class _Names:
    """Stands for a servicer whose methods are their names."""

    def __getattr__(self, name: str) -> str:
        return name


def client_of(module: ModuleType, service: str, channel: Any) -> Any:
    """Return the client of a service that is made with this channel."""
    for _, candidate in classes_of(module):
        if not hasattr(candidate, "routes") and not issubclass(candidate, Message):
            made = candidate(channel)
            bound = next(iter(vars(made).values()), None)
            inner = getattr(bound, "_call", bound)
            if getattr(getattr(inner, "_method", None), "service", None) == service:
                return made
    raise AssertionError(f"{module.__name__} has no client of {service}")


def fake_of(fakes: ModuleType, service: str) -> Any:
    """Return the fake of a service."""
    for name in fakes.__all__:
        fake = getattr(fakes, name)()
        if any(getattr(each, "method", None) and each.method.service == service for each in vars(fake).values()):
            return fake
    raise AssertionError(f"{fakes.__name__} has no fake of {service}")


async def exercise(servicer: Any, module: ModuleType, fakes: ModuleType, counts: Counter[str]) -> None:
    """Call every method of a service in every way."""
    service = servicer.routes()[0].spec.service
    async with (
        Server(servicer, claims=Claims()) as server,
        Channel(server.address) as channel,
        grpc.aio.insecure_channel(server.address) as bare,
    ):
        blocking = BlockingChannel(server.address)
        client, waiting = client_of(module, service, channel), client_of(module, service, blocking)
        fake = fake_of(fakes, service)
        for spec, name in methods_of(servicer):
            invoke = getattr(bare, _GRPC[spec.kind])(
                f"/{spec.full_name}", request_serializer=spec.encode_request, response_deserializer=spec.decode_response
            )
            await call(spec, invoke, metadata=(("idempotency-key", "key"),))
            await call(spec, getattr(client, name))
            await asyncio.to_thread(call_and_wait, spec, getattr(waiting, name))
            told = getattr(fake, name)
            told.returns([filled(spec.response)] * MESSAGES if spec.streams_responses else filled(spec.response))
            await call(spec, getattr(fake.client, name))
            await asyncio.to_thread(call_and_wait, spec, getattr(fake.blocking_client, name))
            assert len(told.requests) == 2 or (spec.policy.cache and told.requests)
            counts.update(methods=1, calls=5)
        await asyncio.to_thread(blocking.close)


def methods_of(servicer: Any) -> Iterator[tuple[Spec, str]]:
    """Yield the methods of a servicer, and their names in its class and in the clients'."""
    for route in servicer.routes():
        yield route.spec, next(name for name, each in vars(type(servicer)).items() if each is route.handler.__func__)


async def main() -> None:
    """Exercise the modules that the arguments name."""
    counts: Counter[str] = Counter()
    for name in sys.argv[1:]:
        module = import_module(name)
        for servicer in servicers(module):
            counts["services"] += 1
            if servicer.routes():
                await exercise(servicer, module, import_module(f"{name}_fakes"), counts)
        check_routes(module)
        await exercise_events(module, counts)
    print(", ".join(f"{counts[what]} {what}" for what in ("services", "methods", "calls", "events", "handled")))


if __name__ == "__main__":
    asyncio.run(main())
