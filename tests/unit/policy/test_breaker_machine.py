"""The breaker against a model that keeps every call in a list."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from carrick import BreakerOptions
from carrick.policy.breaker import BreakerState, Permit

_OPTIONS = BreakerOptions(failure_ratio=0.5, window=10.0, min_calls=3, open_for=4.0, trials=2)


@dataclass(frozen=True)
class Begun:
    """A call under way: its permit, and the epoch of the model in which it began."""

    permit: Permit
    epoch: int


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin, end and are forgotten in any order while time passes."""

    begun: Bundle[Begun] = Bundle("begun")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = BreakerState(_OPTIONS)
        self.now = 0
        self.enter("closed")
        self.epoch = 0

    def enter(self, state: str) -> None:
        """Begin an epoch in which nothing is known yet."""
        self.state = state
        self.since = self.now
        self.epoch = getattr(self, "epoch", 0) + 1
        self.ended: list[tuple[int, bool]] = []
        self.trials = 0
        self.passed = 0

    def recent(self) -> list[bool]:
        """Return whether each call of the last ten seconds failed."""
        return [failed for second, failed in self.ended if second > self.now - 10]

    def admits(self) -> bool:
        """Say what the breaker must say."""
        if self.state == "half-open":
            return self.trials < _OPTIONS.trials
        return self.state == "closed" or self.now - self.since >= _OPTIONS.open_for

    def take(self) -> Begun | None:
        """Begin a call where the breaker admits it."""
        admitted = self.admits()
        permit = self.breaker.acquire(float(self.now))
        assert (permit is not None) is admitted
        if permit is None:
            return None
        if self.state == "open":
            self.enter("half-open")
        if self.state == "half-open":
            self.trials += 1
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
            self.fail(call)

    @rule()
    def recovery(self) -> None:
        """After a while calls are answered until it closes, if the trials under way leave room."""
        self.now += 4
        while self.state != "closed" and (call := self.take()):
            self.succeed(call)

    @rule(call=consumes(begun))
    def succeed(self, call: Begun) -> None:
        """A call is answered."""
        self.breaker.succeeded(call.permit, float(self.now))
        if call.epoch != self.epoch:
            return
        if self.state == "closed":
            self.ended.append((self.now, False))
            return
        self.passed += 1
        if self.passed == _OPTIONS.trials:
            self.enter("closed")

    @rule(call=consumes(begun))
    def fail(self, call: Begun) -> None:
        """A call fails."""
        self.breaker.failed(call.permit, float(self.now))
        if call.epoch != self.epoch:
            return
        self.ended.append((self.now, True))
        recent = self.recent()
        enough = len(recent) >= _OPTIONS.min_calls and sum(recent) >= _OPTIONS.failure_ratio * len(recent)
        if self.state == "half-open" or enough:
            self.enter("open")

    @rule(call=consumes(begun))
    def forget(self, call: Begun) -> None:
        """A call is cancelled."""
        self.breaker.forgotten(call.permit)
        if call.epoch == self.epoch and self.state == "half-open":
            self.trials -= 1

    @rule(seconds=st.sampled_from([1, 4, 11]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @invariant()
    def agrees(self) -> None:
        """Breaker and model are in the same state, and say the same to the next call."""
        assert self.breaker.state == self.state
        assert self.breaker.admits(float(self.now)) is self.admits()

    @invariant()
    def counts_alike(self) -> None:
        """While closed, breaker and model count the same calls."""
        if self.state == "closed":
            recent = self.recent()
            assert self.breaker.counts(float(self.now)) == (len(recent), sum(recent))


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
