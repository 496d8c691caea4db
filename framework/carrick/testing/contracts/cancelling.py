"""Cancelling a task at a place of one's choice."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["CancelledAt"]


class CancelledAt:
    """Awaits ``work`` and cancels the task when it waits for the ``number``-th time."""

    def __init__(self, work: Coroutine[Any, Any, None], number: int) -> None:
        self._work = work
        self._left = number

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        answer, error = None, None
        while True:
            try:
                waited = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration:
                return
            self._left -= 1
            task = asyncio.current_task()
            if self._left == 0 and task is not None:
                task.cancel()
            answer, error = None, None
            try:
                answer = yield waited
            except BaseException as thrown:  # noqa: BLE001  # it is thrown on
                error = thrown
