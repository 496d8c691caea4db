"""The cache: what is answered from it, what is shared, and that nobody's cancellation is another's."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick import (
    CacheOptions,
    CarrickError,
    Code,
    Context,
    DeadlineError,
    Metadata,
    Priority,
    RemoteError,
    Service,
)
from carrick.observe import FallbackUsed
from carrick.policy.cache import cache
from carrick.policy.reply_store import ReplyStore, request_key
from carrick.service import stack
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.unit.calls import READ, Seen, turns

ASKED = GetOrderRequest(order_id="o-1")


def context(*, deadline: float | None = None, metadata: Metadata = (), tenant: str | None = None) -> Context:
    """Return the context of one caller."""
    return Context(READ, deadline=deadline, metadata=metadata, tenant=tenant)


class Origin:
    """A service whose answers are numbered, and wait where the test says so."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = asyncio.Event()
        self.open.set()
        self.error: BaseException | None = None
        self.failures = 1000
        self.cancelled = 0

    async def __call__(self, request: Any, ctx: Context) -> GetOrderResponse:
        """Answer, or fail, when it is open."""
        self.calls += 1
        number = self.calls
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            await turns()
            self.cancelled += 1
            raise
        if self.error is not None and number <= self.failures:
            raise self.error
        return GetOrderResponse(order_id=request.order_id, total=number)


class Cached:
    """A cache in front of an origin."""

    def __init__(self, *, ttl: float = 10.0, stale_if_error: float = 0.0, max_bytes: int = 10_000) -> None:
        self.clock = FakeClock()
        self.origin = Origin()
        self.seen = Seen()
        options = CacheOptions(ttl=ttl, stale_if_error=stale_if_error, max_bytes=max_bytes)
        self.service: Service = stack(self.origin, cache(options, clock=self.clock, observe=self.seen))

    def begin(self, ctx: Context | None = None) -> "asyncio.Future[Any]":
        """Begin a call."""
        return asyncio.ensure_future(self.service(ASKED, ctx or context()))

    async def ask(self, ctx: Context | None = None, order_id: str = "o-1") -> int:
        """Return the number of the answer."""
        reply = await self.service(GetOrderRequest(order_id=order_id), ctx or context())
        assert reply.order_id == order_id
        return int(reply.total)


async def test_a_reply_is_answered_with_until_it_is_too_old() -> None:
    """For the time to live, counted from when it came."""
    cached = Cached(ttl=10.0)
    assert await cached.ask() == 1
    cached.clock.advance(10.0)
    assert await cached.ask() == 1
    cached.clock.advance(0.01)
    assert await cached.ask() == 2


async def test_only_the_same_question_has_the_same_answer() -> None:
    """Another request, other metadata or another tenant is another question."""
    cached = Cached()
    one = context(metadata=(("authorization", "a"),))
    assert await cached.ask() == 1
    assert await cached.ask(order_id="o-2") == 2
    assert await cached.ask(one) == 3
    assert await cached.ask(context(metadata=(("authorization", "b"),))) == 4
    assert await cached.ask(context(tenant="t")) == 5
    assert await cached.ask(context(metadata=(("authorization", "a"),))) == 3


def test_keys_of_different_metadata_differ() -> None:
    """Names and values do not run together; their order does not matter."""
    pairs: list[Metadata] = [(("a", "bc"),), (("ab", "c"),), (("a", "b"), ("c", "")), (("a", b"bc"),), ()]
    assert len({request_key(ASKED, context(metadata=each)) for each in pairs}) == len(pairs)
    forth, back = (("a", "1"), ("b", "2")), (("b", "2"), ("a", "1"))
    assert request_key(ASKED, context(metadata=forth)) == request_key(ASKED, context(metadata=back))


def test_a_request_does_not_run_into_whose_it_is() -> None:
    """Fields that this version does not know may end a request with any bytes, also with a tenant's name."""

    def key(encoded: bytes, ctx: Context) -> bytes:
        request: Any = SimpleNamespace(SerializeToString=lambda deterministic: encoded)
        return request_key(request, ctx)

    assert key(b"request" + repr(("acme", [])).encode(), context()) != key(b"request", context(tenant="acme"))


async def test_an_important_call_does_not_share_an_unimportant_one() -> None:
    """The server may turn that one away and not this one."""
    cached = Cached()
    cached.origin.open.clear()
    calls = [
        cached.begin(Context(READ, priority=each))
        for each in (Priority.SHEDDABLE, Priority.CRITICAL, Priority.SHEDDABLE)
    ]
    await turns()
    assert cached.origin.calls == 2
    cached.origin.open.set()
    assert [reply.total for reply in await asyncio.gather(*calls)] == [1, 2, 1]


async def test_a_shared_error_is_each_callers_own() -> None:
    """What one caller was doing when it failed is not in another's error."""
    cached = Cached()
    cached.origin.open.clear()
    cached.origin.error = RemoteError(Code.UNAVAILABLE, "away")

    async def asking(doing: str) -> CarrickError:
        try:
            raise ValueError(doing)
        except ValueError:
            with pytest.raises(RemoteError, match="away") as raised:
                await cached.ask()
            return raised.value

    calls = [asyncio.ensure_future(asking(f"caller {number}")) for number in range(3)]
    await turns()
    cached.origin.open.set()
    errors = await asyncio.gather(*calls)
    assert cached.origin.calls == 1
    assert len({id(each) for each in errors}) == 3
    assert [str(each.__context__) for each in errors[1:]] == ["caller 1", "caller 2"]


async def test_every_caller_has_a_message_of_its_own() -> None:
    """Changing a reply changes nobody else's."""
    cached = Cached()
    first = await cached.service(ASKED, context())
    first.total = 99
    assert await cached.ask() == 1


async def test_errors_are_not_kept() -> None:
    """The next call is made again."""
    cached = Cached()
    cached.origin.error = RemoteError(Code.NOT_FOUND, "none")
    for _ in range(2):
        with pytest.raises(RemoteError):
            await cached.ask()
    assert cached.origin.calls == 2


async def test_a_stale_reply_stands_in_for_an_outage() -> None:
    """For as long as the policy says, not for an error that is an answer, and an observer hears of it."""
    cached = Cached(ttl=1.0, stale_if_error=5.0)
    await cached.ask()
    cached.clock.advance(6.0)
    cached.origin.error = RemoteError(Code.UNAVAILABLE, "away")
    assert await cached.ask() == 1
    assert cached.seen.observations == [FallbackUsed(method=READ.full_name, code="UNAVAILABLE", source="stale")]
    cached.origin.error = RemoteError(Code.NOT_FOUND, "gone")
    with pytest.raises(RemoteError, match="gone"):
        await cached.ask()
    cached.origin.error = RemoteError(Code.UNAVAILABLE, "away")
    cached.clock.advance(0.01)
    with pytest.raises(RemoteError, match="away"):
        await cached.ask()


async def test_calls_at_the_same_time_share_one() -> None:
    """Also without a time to live; and a later one is made again."""
    cached = Cached(ttl=0.0)
    cached.origin.open.clear()
    calls = [cached.begin() for _ in range(5)]
    await turns()
    cached.origin.open.set()
    assert [(await call).total for call in calls] == [1] * 5
    assert await cached.ask() == 2


async def test_an_error_is_shared_too() -> None:
    """Who waits for a call that fails hears of it, and makes none of its own."""
    cached = Cached()
    cached.origin.open.clear()
    cached.origin.error = RemoteError(Code.UNAVAILABLE, "away")
    calls = [cached.begin() for _ in range(3)]
    await turns()
    cached.origin.open.set()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, RemoteError) for error in errors)
    assert cached.origin.calls == 1


async def test_the_call_goes_on_while_anybody_waits_for_it() -> None:
    """Who began it may be cancelled; it ends when the last one is, and has ended then."""
    cached = Cached()
    cached.origin.open.clear()
    first, second = cached.begin(), cached.begin()
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert cached.origin.cancelled == 0
    second.cancel()
    await asyncio.wait((second,))
    assert second.cancelled()
    assert (cached.origin.calls, cached.origin.cancelled) == (1, 1)


async def test_the_call_of_one_who_was_cancelled_answers_the_others() -> None:
    """Nothing is asked for twice."""
    cached = Cached()
    cached.origin.open.clear()
    first, second = cached.begin(), cached.begin()
    await turns()
    first.cancel()
    await turns()
    cached.origin.open.set()
    assert (await second).total == 1


@pytest.mark.parametrize("later", range(20))
async def test_who_comes_while_the_last_one_is_cancelled_asks_again(later: int) -> None:
    """A call that is being cancelled is nobody's answer, and is not waited for for ever, at whatever turn one comes."""
    cached = Cached()
    cached.origin.open.clear()
    first = cached.begin()
    await turns()
    first.cancel()
    for _ in range(later):
        await asyncio.sleep(0)
    second = cached.begin()
    await turns()
    await turns()
    cached.origin.open.set()
    assert (await asyncio.wait_for(second, 5)).total == 2
    assert first.cancelled()


async def test_one_who_is_cancelled_before_anything_began_blocks_nobody() -> None:
    """A call whose task never ran is forgotten."""
    cached = Cached()
    first = cached.begin()
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    assert await asyncio.wait_for(cached.ask(), 5) >= 1


async def test_nobody_waits_longer_than_its_own_deadline() -> None:
    """The call that one waits for has more time than it has itself."""
    cached = Cached()
    cached.origin.open.clear()
    now = cached.clock.monotonic()
    patient, hasty = cached.begin(context(deadline=now + 10)), cached.begin(context(deadline=now + 1))
    await turns()
    cached.clock.advance(1.0)
    with pytest.raises(DeadlineError, match="while an earlier call for the same was under way"):
        await hasty
    cached.origin.open.set()
    assert (await patient).total == 1


async def test_who_has_more_time_than_the_shared_call_makes_its_own() -> None:
    """A deadline that was another's is not one's own."""
    cached = Cached()
    now = cached.clock.monotonic()
    cached.origin.open.clear()
    cached.origin.error, cached.origin.failures = DeadlineError("late"), 1
    hasty, patient = cached.begin(context(deadline=now + 1)), cached.begin(context(deadline=now + 10))
    await turns()
    cached.origin.open.set()
    assert (await patient).total == 2
    with pytest.raises(DeadlineError):
        await hasty


async def test_a_reply_that_comes_too_late_for_all_does_no_harm() -> None:
    """When everybody has given up, the call is cancelled, and the next one asks again."""
    cached = Cached()
    cached.origin.open.clear()
    now = cached.clock.monotonic()
    first = cached.begin(context(deadline=now + 10))
    second = cached.begin(context(deadline=now + 1))
    await turns()
    first.cancel()
    await turns()
    cached.clock.advance(1.0)
    with pytest.raises(DeadlineError):
        await second
    assert cached.origin.cancelled == 1
    cached.origin.open.set()
    assert await cached.ask() == 2


@given(
    st.lists(st.tuples(st.sampled_from(["put", "get"]), st.integers(0, 3), st.integers(0, 400)), max_size=60),
    st.sampled_from([0, 199, 500, 700, 1000, 1500]),
)
def test_the_store_is_the_model_in_a_bounded_room(steps: list[tuple[str, int, int]], room: int) -> None:
    """It never takes more than its room, and what it has is what was last put; the least recently used goes first."""
    store, model = ReplyStore(room), dict[bytes, bytes]()
    for action, number, size in steps:
        key = bytes([number])
        if action == "put":
            store.put(key, b"x" * size, 0.0)
            model.pop(key, None)
            if size + 200 <= room:
                model[key] = b"x" * size
            while sum(len(reply) + 200 for reply in model.values()) > room:
                del model[next(iter(model))]
        else:
            assert store.get(key, 0.0, 1.0) == model.get(key)
            if key in model:
                model[key] = model.pop(key)
        assert store.size == sum(len(reply) + 200 for reply in model.values()) <= room
        assert len(store) == len(model)


async def test_an_error_that_is_not_ours_passes() -> None:
    """A fault in the program is no outage."""
    cached = Cached(stale_if_error=10.0, ttl=1.0)
    await cached.ask()
    cached.clock.advance(2)
    cached.origin.error = KeyError("bug")
    with pytest.raises(KeyError):
        await cached.ask()
    assert not isinstance(cached.origin.error, CarrickError)


async def test_an_error_that_nobody_is_left_to_hear_of_is_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    """A call whose last caller is gone may end with an error; the event loop does not complain about it."""
    begun = asyncio.Event()

    async def stubborn(request: Any, ctx: Context) -> GetOrderResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("while cancelled")

    service = stack(stubborn, cache(CacheOptions(), clock=FakeClock(), observe=Seen()))
    call = asyncio.ensure_future(service(ASKED, context()))
    await begun.wait()
    call.cancel()
    await asyncio.wait((call,))
    assert call.cancelled()
    del call
    await turns()
    gc.collect()
    assert caplog.text == ""
