"""The breaker against a model that keeps every call in a list: failures, slow calls, trials, and changes by hand."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from carrick import BreakerOptions
from carrick.policy.breaker import BreakerState, OpenReason, Permit

_SECONDS = 10
_TAKES = st.sampled_from([0.0, 2.0, 2.5])


@dataclass(frozen=True)
class Begun:
    """A call under way: its permit, and the epoch of the model in which it began."""

    permit: Permit
    epoch: int


@dataclass(frozen=True)
class Ended:
    """A call that ended in the current epoch."""

    second: int
    failed: bool
    slow: bool


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin, end and are forgotten in any order while time passes and somebody turns the switch."""

    options = BreakerOptions(
        failure_ratio=0.5, slow_after=2.0, slow_ratio=0.75, window=_SECONDS, min_calls=3, open_for=4.0, trials=2
    )
    begun: Bundle[Begun] = Bundle("begun")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = BreakerState(self.options)
        self.now = 0
        self.epoch = 0
        self.enter("closed", None)

    def enter(self, state: str, reason: OpenReason | None) -> None:
        """Begin an epoch in which nothing is known yet."""
        self.state = state
        self.reason = reason
        self.since = self.now
        self.epoch += 1
        self.ended: list[Ended] = []
        self.left = 0
        self.passed = 0

    def recent(self) -> list[Ended]:
        """Return the calls that count: those of the last ten seconds, or so many of the last."""
        if self.options.window_calls is not None:
            return self.ended[-self.options.window_calls :]
        return [each for each in self.ended if each.second > self.now - _SECONDS]

    def counts(self) -> tuple[int, int, int]:
        """Return what the breaker must have counted."""
        recent = self.recent()
        return len(recent), sum(each.failed for each in recent), sum(each.slow for each in recent)

    def admits(self) -> bool:
        """Say what the breaker must say."""
        over = self.now - self.since >= self.options.open_for and self.reason is not OpenReason.ISOLATED
        return self.state == "closed" or self.left > 0 or over

    def take(self) -> Begun | None:
        """Begin a call where the breaker admits it."""
        admitted = self.admits()
        permit = self.breaker.acquire(float(self.now))
        assert (permit is not None) is admitted
        if permit is None:
            return None
        if self.state == "open":
            self.enter("half-open", self.reason)
        if self.state == "half-open":
            if self.left == 0:
                self.left, self.since = self.options.trials, self.now
            self.left -= 1
        assert permit.trial is (self.state == "half-open")
        return Begun(permit, self.epoch)

    @rule(target=begun)
    def begin(self) -> MultipleResults[Begun] | Begun:
        """A call comes."""
        return self.take() or multiple()

    @rule()
    def outage(self) -> None:
        """Calls fail until it opens: chance alone would seldom see a breaker half-open twice."""
        while self.state != "open" and (call := self.take()):
            self.fail(call, 0.0)

    @rule()
    def recovery(self) -> None:
        """After a while calls are answered until it closes, if the trials under way leave room."""
        self.now += 4
        while self.state != "closed" and (call := self.take()):
            self.succeed(call, 0.0)

    @rule(call=consumes(begun), took=_TAKES)
    def succeed(self, call: Begun, took: float) -> None:
        """A call is answered, in time or slowly."""
        self.breaker.succeeded(call.permit, float(self.now), took)
        self.end(call, failed=False, slow=took > 2.0)

    @rule(call=consumes(begun), took=_TAKES)
    def fail(self, call: Begun, took: float) -> None:
        """A call fails, at once or slowly."""
        self.breaker.failed(call.permit, float(self.now), took)
        self.end(call, failed=True, slow=took > 2.0)

    @rule(call=consumes(begun), took=_TAKES)
    def give_up(self, call: Begun, took: float) -> None:
        """A call is cancelled: it was slow by then, or says nothing."""
        self.breaker.given_up(call.permit, float(self.now), took)
        if took > 2.0:
            self.end(call, failed=False, slow=True)
        elif call.epoch == self.epoch and self.state == "half-open":
            self.left = min(self.left + 1, self.options.trials)

    @rule(call=consumes(begun))
    def forget(self, call: Begun) -> None:
        """A call was never sent."""
        self.breaker.forgotten(call.permit)
        if call.epoch == self.epoch and self.state == "half-open":
            self.left = min(self.left + 1, self.options.trials)

    @rule(seconds=st.sampled_from([1, 4, 11]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def open(self) -> None:
        """Somebody opens it for a while."""
        self.breaker.open(float(self.now))
        if self.reason is not OpenReason.ISOLATED:
            self.enter("open", OpenReason.MANUAL)

    @rule()
    def isolate(self) -> None:
        """Somebody shuts it."""
        self.breaker.isolate()
        self.enter("open", OpenReason.ISOLATED)

    @rule()
    def close(self) -> None:
        """Somebody closes it."""
        self.breaker.close()
        self.enter("closed", None)

    def end(self, call: Begun, *, failed: bool, slow: bool) -> None:
        """Count a result, and decide by the whole list."""
        if call.epoch != self.epoch:
            return
        self.ended.append(Ended(self.now, failed, slow))
        calls, failures, slow_calls = self.counts()
        if not failed and not slow:
            self.passed += self.state == "half-open"
            if self.passed == self.options.trials:
                self.enter("closed", None)
        elif self.state == "half-open":
            self.enter("open", OpenReason.TRIAL)
        elif calls >= self.options.min_calls and failures >= self.options.failure_ratio * calls:
            self.enter("open", OpenReason.FAILURES)
        elif calls >= self.options.min_calls and slow_calls >= self.options.slow_ratio * calls:
            self.enter("open", OpenReason.SLOW)

    @invariant()
    def agrees(self) -> None:
        """Breaker and model are in the same state for the same reason, and say the same to the next call."""
        assert (self.breaker.state, self.breaker.reason) == (self.state, self.reason)
        assert self.breaker.admits(float(self.now)) is self.admits()

    @invariant()
    def counts_alike(self) -> None:
        """Breaker and model count the same calls."""
        assert self.breaker.counts(float(self.now)) == self.counts()


class CountWindowMachine(BreakerMachine):
    """The same with a window of calls."""

    options = BreakerOptions(
        failure_ratio=0.5, slow_after=2.0, slow_ratio=0.75, window_calls=5, min_calls=3, open_for=4.0, trials=2
    )


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestCountWindow = CountWindowMachine.TestCase
TestCountWindow.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
