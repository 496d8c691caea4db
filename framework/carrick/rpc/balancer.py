"""Picking an endpoint for each attempt."""

from collections.abc import Awaitable, Sequence
from typing import Any

from carrick.context import Context
from carrick.rpc.endpoint import Endpoint

__all__ = ["Balancer", "pick"]


class Balancer:
    """A Service that hands each attempt to the endpoint that :func:`pick` chooses."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)

    def __call__(self, request: Any, ctx: Context) -> Awaitable[Any]:
        """Call the picked endpoint."""
        endpoints = self._endpoints
        endpoint = endpoints[0] if len(endpoints) == 1 else pick(endpoints, _tried(ctx))
        assert ctx.attempt is not None
        ctx.attempt.endpoint = endpoint.id
        return endpoint.service(request, ctx)


def pick(endpoints: Sequence[Endpoint], tried: set[str]) -> Endpoint:
    """Return the first endpoint that admits calls and was not tried yet, else the first that admits, else the first.

    Where none admits, the one returned refuses the call with the reason.
    """
    admitting = [endpoint for endpoint in endpoints if endpoint.admits()]
    fresh = [endpoint for endpoint in admitting if endpoint.id not in tried]
    return (fresh or admitting or list(endpoints))[0]


def _tried(ctx: Context) -> set[str]:
    return {attempt.endpoint for attempt in ctx.call.attempts if attempt.endpoint is not None}
