"""What waits to be handled, in order for each key, while keys do not wait for each other."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lanes"]

Lane = TypeVar("Lane", bound=Hashable)
Work = TypeVar("Work")


class Lanes(Generic[Lane, Work]):
    """One queue for each key. A lane that somebody took is theirs until it is given back. For one event loop.

    ``kind`` sorts lanes by their first work into those that are taken one by one and those that are taken together.
    """

    def __init__(self, together: Callable[[Work], bool]) -> None:
        self._together = together
        self._waiting: dict[Lane, deque[Work]] = {}
        self._taken: set[Lane] = set()
        self._singles: asyncio.Queue[Lane] = asyncio.Queue()
        self._groups: asyncio.Queue[Lane] = asyncio.Queue()

    def __len__(self) -> int:
        """Count the lanes that hold work, or are taken."""
        return len(self._waiting.keys() | self._taken)

    def put(self, lane: Lane, work: Work) -> None:
        """Append work to a lane."""
        waiting = self._waiting.get(lane)
        if waiting is not None:
            waiting.append(work)
            return
        self._waiting[lane] = deque((work,))
        if lane not in self._taken:
            self._offer(lane)

    async def take(self) -> tuple[Lane, Work]:
        """Wait for a lane whose first work is handled by itself, and take the lane and that work."""
        while True:
            lane = await self._singles.get()
            waiting = self._waiting.get(lane)
            if waiting and lane not in self._taken and not self._together(waiting[0]):
                return lane, self._pop(lane, waiting)

    async def take_together(self, most: int) -> list[tuple[Lane, list[Work]]]:
        """Wait for lanes whose first work can be handled with others, and take ``most`` works of them, in order."""
        taken: list[tuple[Lane, list[Work]]] = []
        while not taken:
            lane = await self._groups.get()
            while most > 0:
                if works := self._pop_together(lane, most):
                    taken.append((lane, works))
                    most -= len(works)
                if self._groups.empty():
                    break
                lane = self._groups.get_nowait()
            else:
                self._groups.put_nowait(lane)
        return taken

    def more(self, lane: Lane, wanted: Callable[[Work], bool], most: int) -> list[Work]:
        """Take what comes next in a lane that is taken, as long as it is wanted."""
        waiting = self._waiting.get(lane)
        return [] if waiting is None else self._pop_while(lane, waiting, wanted, most)

    def give_back(self, lane: Lane, *works: Work) -> None:
        """End the use of a lane; ``works`` were not handled and are the first again."""
        self._taken.discard(lane)
        if works:
            self._waiting.setdefault(lane, deque()).extendleft(reversed(works))
        if lane in self._waiting:
            self._offer(lane)

    def drop(self, chosen: Callable[[Lane], bool]) -> list[Work]:
        """Forget what waits in some lanes, and return it. What is being handled goes on."""
        lanes = [lane for lane in self._waiting if chosen(lane)]
        return [work for lane in lanes for work in self._waiting.pop(lane)]

    def busy(self, chosen: Callable[[Lane], bool]) -> bool:
        """Say whether any of some lanes is taken."""
        return any(chosen(lane) for lane in self._taken)

    def _offer(self, lane: Lane) -> None:
        (self._groups if self._together(self._waiting[lane][0]) else self._singles).put_nowait(lane)

    def _pop(self, lane: Lane, waiting: deque[Work]) -> Work:
        work = waiting.popleft()
        if not waiting:
            del self._waiting[lane]
        self._taken.add(lane)
        return work

    def _pop_together(self, lane: Lane, most: int) -> list[Work]:
        waiting = self._waiting.get(lane)
        if waiting is None or lane in self._taken:  # dropped meanwhile, and maybe filled and taken again
            return []
        return self._pop_while(lane, waiting, self._together, most)

    def _pop_while(self, lane: Lane, waiting: deque[Work], wanted: Callable[[Work], bool], most: int) -> list[Work]:
        works: list[Work] = []
        while waiting and len(works) < most and wanted(waiting[0]):
            works.append(self._pop(lane, waiting))
        return works
