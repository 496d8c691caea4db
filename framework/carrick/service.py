"""The one abstraction: a Service handles, a Filter stands in front of it.

After Eriksen, "Your Server as a Function" (PLOS 2013).
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from carrick.context import Context

__all__ = ["Filter", "Service", "stack"]

Service: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
"""Takes a request and its context, gives a response, or raises a ``CarrickError``.

Where a method streams requests, the request is an asynchronous iterator of them; where it streams responses, so is the
response. On a client it is given once the first response is there (or the stream has ended without one), so that
whatever fails before that is raised by the call itself. See :mod:`carrick.stream` for holding something until its end.
"""

Filter: TypeAlias = Callable[[Any, Context, Service], Awaitable[Any]]
"""Takes what a Service takes, and the Service behind it, which it may call never, once or many times."""


def stack(service: Service, *filters: Filter) -> Service:
    """Put filters in front of a service, the first one outermost. Bound once: a call costs one closure a filter."""
    for each in reversed(filters):
        service = _bind(each, service)
    return service


def _bind(outer: Filter, inner: Service) -> Service:
    def bound(request: Any, ctx: Context) -> Awaitable[Any]:
        return outer(request, ctx, inner)

    return bound
