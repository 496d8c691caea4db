"""Picking an endpoint for each attempt."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from carrick.context import Context
from carrick.rpc.endpoint import Endpoint
from carrick.stream import Concluding

__all__ = ["Balancer", "pick"]


class Balancer:
    """A Service that hands each attempt to the endpoint that :func:`pick` chooses."""

    def __init__(self, endpoints: Sequence[Endpoint], uniform: Callable[[], float]) -> None:
        self._endpoints = tuple(endpoints)
        self._uniform = uniform

    def __call__(self, request: Any, ctx: Context) -> Awaitable[Any]:
        """Call the picked endpoint."""
        assert ctx.attempt is not None
        if len(self._endpoints) > 1:
            return self._balanced(request, ctx)
        endpoint = self._endpoints[0]
        ctx.attempt.endpoint = endpoint.id
        return endpoint.service(request, ctx)

    def elsewhere(self, ctx: Context) -> bool:
        """Say whether an endpoint that this call has not tried would let it through."""
        if len(self._endpoints) == 1:
            return False
        tried = _tried(ctx)
        return any(endpoint.id not in tried and endpoint.admits() for endpoint in self._endpoints)

    async def _balanced(self, request: Any, ctx: Context) -> Any:
        """Count the attempt as under way there, a stream of responses until its end."""
        assert ctx.attempt is not None
        assert ctx.method is not None
        endpoint = pick(self._endpoints, _tried(ctx), self._uniform)
        ctx.attempt.endpoint = endpoint.id
        endpoint.load.running += 1

        def ended(error: BaseException | None) -> None:
            endpoint.load.running -= 1

        try:
            reply = await endpoint.service(request, ctx)
        except BaseException as error:
            ended(error)
            raise
        if ctx.method.streams_responses:
            return Concluding(reply, ended)
        ended(None)
        return reply


def pick(endpoints: Sequence[Endpoint], tried: set[str], uniform: Callable[[], float]) -> Endpoint:
    """Return the less busy of two endpoints picked at random (Mitzenmacher, "The Power of Two Choices", 2001).

    They are picked from those that admit calls and were not tried yet, else from those that admit, else from all: one
    that does not admit refuses the call with the reason. ``uniform`` gives random numbers from 0 up to 1.
    """
    admitting = [endpoint for endpoint in endpoints if endpoint.admits()]
    fresh = [endpoint for endpoint in admitting if endpoint.id not in tried]
    choice = fresh or admitting or list(endpoints)
    if len(choice) == 1:
        return choice[0]
    first = int(uniform() * len(choice))
    second = (first + 1 + int(uniform() * (len(choice) - 1))) % len(choice)
    return min(choice[first], choice[second], key=lambda endpoint: endpoint.load.running)


def _tried(ctx: Context) -> set[str]:
    return {attempt.endpoint for attempt in ctx.call.attempts if attempt.endpoint is not None}
