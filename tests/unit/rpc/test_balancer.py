import pytest

from carrick import AttemptKind, CarrickError, Code, RejectedError
from carrick.rpc.balancer import Balancer, pick
from carrick.rpc.endpoint import Endpoint
from tests.unit.calls import REPLY, REQUEST, Scripted, first_attempt, rejected


def _endpoint(name: str, *, admits: bool = True, service: Scripted | None = None) -> Endpoint:
    return Endpoint(name, service or Scripted(endpoint=name), lambda: admits)


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
    """Admitting and fresh comes before admitting; where none admits the first one tells why."""
    endpoints = [_endpoint(name, admits=name in admitting) for name in "abc"]

    assert pick(endpoints, set(tried)).id == picked


async def test_a_single_endpoint_is_called_whatever_it_says() -> None:
    """Where there is no choice the endpoint itself refuses, with its reason."""
    refusing = Scripted(rejected("the circuit is open"))
    balancer = Balancer([_endpoint("a", admits=False, service=refusing)])

    with pytest.raises(RejectedError, match="the circuit is open"):
        await balancer(REQUEST, first_attempt())


async def test_the_attempt_knows_its_endpoint() -> None:
    """The picked endpoint stands on the attempt, also when it refused the call."""
    balancer = Balancer([_endpoint("a", service=Scripted(rejected()))])
    ctx = first_attempt()

    with pytest.raises(RejectedError):
        await balancer(REQUEST, ctx)
    assert ctx.attempt is not None
    assert ctx.attempt.endpoint == "a"


@pytest.mark.parametrize("outcome", [Code.UNAVAILABLE, rejected()])
async def test_the_next_attempt_goes_elsewhere(outcome: Code | BaseException) -> None:
    """An endpoint that failed or refused is tried again only after all others."""
    failing = Scripted(outcome, endpoint="a")
    balancer = Balancer([_endpoint("a", service=failing), _endpoint("b")])
    ctx = first_attempt()
    with pytest.raises(CarrickError):
        await balancer(REQUEST, ctx)

    second = ctx.new_attempt(AttemptKind.RETRY)
    assert await balancer(REQUEST, second) == REPLY
    assert second.attempt is not None
    assert second.attempt.endpoint == "b"
