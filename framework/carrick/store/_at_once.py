"""Coroutines that never wait, run to their end by plain code."""

from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["at_once"]

T = TypeVar("T")


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that has nothing to wait for. One that waits is closed: ``RuntimeError``.

    So what is written once, for transactions that are awaited, serves those that are not.
    """
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits for something, which a plain function can't")
