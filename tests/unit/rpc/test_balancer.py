from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick import AttemptKind, CarrickError, Code, Context, MethodKind, RejectedError, Service
from carrick.rpc.balancer import Balancer, pick
from carrick.rpc.endpoint import Endpoint, Load
from tests.unit.calls import REPLY, REQUEST, Scripted, first_attempt, rejected
from tests.unit.streams import Item, item, items, numbers, streaming


def _endpoint(name: str, *, admits: bool = True, service: Service | None = None, running: int = 0) -> Endpoint:
    return Endpoint(name, service or Scripted(endpoint=name), lambda: admits, Load(running))


def _first() -> float:
    return 0.0


@pytest.mark.parametrize(
    ("admitting", "tried", "picked"),
    [
        ("abc", "", "a"),
        ("abc", "a", "b"),
        ("abc", "ab", "c"),
        ("abc", "abc", "a"),
        ("bc", "", "b"),
        ("bc", "b", "c"),
        ("bc", "bc", "b"),
        ("b", "b", "b"),
        ("", "", "a"),
        ("", "a", "a"),
    ],
)
def test_pick(admitting: str, tried: str, picked: str) -> None:
    """Admitting and fresh comes before admitting; where none admits any one tells why."""
    endpoints = [_endpoint(name, admits=name in admitting) for name in "abc"]

    assert pick(endpoints, set(tried), _first).id == picked


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6), st.data())
def test_the_less_busy_of_two_is_picked(busy: list[int], data: st.DataObject) -> None:
    """Two different endpoints are compared, so the busiest of all is never the one, unless others are as busy."""
    endpoints = [_endpoint(str(number), running=running) for number, running in enumerate(busy)]
    uniform = st.floats(0, 1, exclude_max=True)
    picked = pick(endpoints, set(), lambda: data.draw(uniform))
    assert picked.load.running <= sorted(busy)[-2]


def test_every_endpoint_is_picked_as_often_when_all_are_as_busy() -> None:
    """Ties are broken by chance, not by the order in which targets were given."""
    endpoints = [_endpoint(name) for name in "abc"]
    numbers = Random(7)
    picked = Counter(pick(endpoints, set(), numbers.random).id for _ in range(3000))
    assert all(900 < picked[name] < 1100 for name in "abc")


async def test_what_is_under_way_is_counted_until_its_end() -> None:
    """A stream of responses is under way until its end; an attempt that fails is no more."""
    watch = streaming(MethodKind.SERVER_STREAM)

    async def begin(request: object, ctx: Context) -> AsyncIterator[Item]:
        return items(2)

    streams = _endpoint("a", service=begin)
    balancer = Balancer([streams, _endpoint("b", admits=False)], _first)
    stream = await balancer(item(0), first_attempt(watch))
    assert streams.load.running == 1
    assert await numbers(stream) == [0, 1]
    assert streams.load.running == 0
    failing = _endpoint("a", service=Scripted(Code.UNAVAILABLE))
    with pytest.raises(CarrickError):
        await Balancer([failing, _endpoint("b", admits=False)], _first)(REQUEST, first_attempt())
    assert failing.load.running == 0


@pytest.mark.parametrize(
    ("admitting", "tried", "expected"), [("ab", "a", True), ("a", "a", False), ("ab", "ab", False)]
)
async def test_elsewhere(admitting: str, tried: str, expected: bool) -> None:
    """An endpoint that was not tried and admits calls is somewhere else to go."""
    balancer = Balancer([_endpoint(name, admits=name in admitting) for name in "ab"], _first)
    ctx = first_attempt()
    for name in tried:
        ctx = ctx.new_attempt(AttemptKind.RETRY)
        assert ctx.attempt is not None
        ctx.attempt.endpoint = name
    assert balancer.elsewhere(ctx) is expected


async def test_a_single_endpoint_is_called_whatever_it_says() -> None:
    """Where there is no choice the endpoint itself refuses, with its reason."""
    refusing = Scripted(rejected("the circuit is open"))
    balancer = Balancer([_endpoint("a", admits=False, service=refusing)], _first)

    with pytest.raises(RejectedError, match="the circuit is open"):
        await balancer(REQUEST, first_attempt())


async def test_the_attempt_knows_its_endpoint() -> None:
    """The picked endpoint stands on the attempt, also when it refused the call."""
    balancer = Balancer([_endpoint("a", service=Scripted(rejected()))], _first)
    ctx = first_attempt()

    with pytest.raises(RejectedError):
        await balancer(REQUEST, ctx)
    assert ctx.attempt is not None
    assert ctx.attempt.endpoint == "a"


@pytest.mark.parametrize("outcome", [Code.UNAVAILABLE, rejected()])
async def test_the_next_attempt_goes_elsewhere(outcome: Code | BaseException) -> None:
    """An endpoint that failed or refused is tried again only after all others."""
    failing = Scripted(outcome, endpoint="a")
    balancer = Balancer([_endpoint("a", service=failing), _endpoint("b")], _first)
    ctx = first_attempt()
    with pytest.raises(CarrickError):
        await balancer(REQUEST, ctx)

    second = ctx.new_attempt(AttemptKind.RETRY)
    assert await balancer(REQUEST, second) == REPLY
    assert second.attempt is not None
    assert second.attempt.endpoint == "b"
