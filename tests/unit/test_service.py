from typing import Any

from carrick import Context, Filter, Service, stack
from tests.unit.calls import REPLY, REQUEST, Scripted, first_attempt


def _noting(name: str, notes: list[str]) -> Filter:
    async def noting(request: Any, ctx: Context, service: Service) -> Any:
        notes.append(f"{name} in")
        reply = await service(request, ctx)
        notes.append(f"{name} out")
        return reply

    return noting


async def test_the_first_filter_is_outermost() -> None:
    """Filters are entered in the order they are written and left in the opposite one."""
    notes: list[str] = []
    service = stack(Scripted(), _noting("a", notes), _noting("b", notes), _noting("c", notes))

    assert await service(REQUEST, first_attempt()) == REPLY
    assert notes == ["a in", "b in", "c in", "c out", "b out", "a out"]


def test_a_stack_without_filters_is_the_service() -> None:
    """A policy that nobody asked for costs nothing."""
    service = Scripted()

    assert stack(service) is service


async def test_a_filter_may_answer_itself() -> None:
    """A filter that does not call on keeps the service from being called."""

    async def answering(request: Any, ctx: Context, service: Service) -> Any:
        return "own"

    service = Scripted()

    assert await stack(service, answering)(REQUEST, first_attempt()) == "own"
    assert service.calls == 0


async def test_a_filter_may_call_many_times() -> None:
    """A filter can call the service behind it as often as it likes."""

    async def twice(request: Any, ctx: Context, service: Service) -> Any:
        await service(request, ctx)
        return await service(request, ctx)

    service = Scripted()
    await stack(service, twice)(REQUEST, first_attempt())

    assert service.calls == 2


async def test_one_filter_can_stand_in_many_stacks() -> None:
    """Binding keeps nothing in the filter, so stacks do not disturb each other."""
    notes: list[str] = []
    shared = _noting("shared", notes)
    one, other = Scripted(endpoint="one"), Scripted(endpoint="other")
    first, second = stack(one, shared), stack(other, shared)

    await second(REQUEST, first_attempt())

    assert (one.calls, other.calls) == (0, 1)
    await first(REQUEST, first_attempt())
    assert (one.calls, other.calls) == (1, 1)
