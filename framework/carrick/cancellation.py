"""Finishing what must not stay half done."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["cancelled", "finish", "outlast"]

T = TypeVar("T")


def cancelled(error: BaseException) -> bool:
    """Say whether ``error`` is the cancellation of the current task, and not one that leaked out of what it called."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end however often the caller is cancelled meanwhile; then the cancellation goes on.

    For short, bounded work only: a commit, a release.
    """
    return await outlast(asyncio.create_task(work))


async def outlast(future: asyncio.Future[T]) -> T:
    """Wait for what others do however often the caller is cancelled meanwhile; then the cancellation goes on."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):  # one more cancellation is heard of below, like the first
                await asyncio.wait((future,))
        if not future.cancelled():
            future.exception()  # the cancellation is what the caller hears of
        raise
