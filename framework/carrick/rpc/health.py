"""The standard health service, ended cleanly when the server drains."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from carrick.resource import Resource

__all__ = ["Health", "resource_name"]


def resource_name(resource: Resource) -> str:
    """Return the name that health has for a resource: no service's, since those have no slash."""
    return f"resource/{resource.name}"


class _Stream:
    """What a watcher is told, and what it was told last."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context
        self.told: int | None = None

    async def write(self, response: health_pb2.HealthCheckResponse) -> None:
        """Send a state."""
        self.told = response.status
        await self._context.write(response)


class Health(aio.HealthServicer):
    """gRPC health checking. Watchers are told NOT_SERVING and let go, so that they do not hold up a stop.

    Each resource has a name of its own, ``resource/database``, which is NOT_SERVING while it is degraded. The server
    and its services are not: what they can do without it they still do.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watchers: set[asyncio.Task[Any]] = set()
        self._dismissed = False
        self._unwatch: list[Callable[[], None]] = []
        self._telling: set[asyncio.Task[None]] = set()

    async def serving(self, services: tuple[str, ...]) -> None:
        """Turn SERVING, as a whole and for each service."""
        for name in ("", *services):
            await self.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def follow(self, resources: Iterable[Resource]) -> None:
        """Say how the resources are, from now on until the server drains."""
        for resource in resources:
            self._unwatch.append(resource.watch(partial(self._turned, resource)))
            await self._tell(resource)

    async def draining(self) -> None:
        """Turn NOT_SERVING for good."""
        while self._unwatch:
            self._unwatch.pop()()
        await self.enter_graceful_shutdown()

    def dismiss_watchers(self) -> None:
        """End the streams of all watchers."""
        self._dismissed = True
        for watcher in self._watchers:
            watcher.cancel()

    def _turned(self, resource: Resource) -> None:
        task = asyncio.create_task(self._tell(resource))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, resource: Resource) -> None:
        """Tell how the resource is now, which is what the last of several changes in a row made it."""
        status = health_pb2.HealthCheckResponse
        await self.set(resource_name(resource), status.NOT_SERVING if resource.degraded else status.SERVING)

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:  # noqa: N802
        """Stream the state of a service, as the health protocol says."""
        task = asyncio.current_task()
        assert task is not None
        self._watchers.add(task)
        stream: Any = _Stream(context)
        try:
            await super().Watch(request, stream)
        except asyncio.CancelledError:
            if not self._dismissed:
                raise  # the watcher itself went away; a dismissed one gets an ordinary end of its stream
            if stream.told == health_pb2.HealthCheckResponse.SERVING:  # it was dismissed before its turn came
                await stream.write(health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING))
        finally:
            self._watchers.discard(task)
