"""The limit of calls under way against a model that keeps every call in a list."""

from dataclasses import dataclass
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from carrick import Priority
from carrick.policy.concurrency import ConcurrencyState, Outcome, Refusal, Waiter
from carrick.policy.gradient import GradientLimit

LIMIT, MAX_QUEUED, PATIENCE = 4, 4, 6.0
SHARES = (100, 90, 70)
RANKS = {Priority.CRITICAL: 0, Priority.DEFAULT: 1, None: 1, Priority.SHEDDABLE: 2}


class ScriptedLimit:
    """A limit that changes to what the test says."""

    limit = LIMIT

    def answered(self, now: float, began: float, in_flight: int) -> bool:
        """Have the state look at the limit."""
        return True

    def refused(self) -> None:
        """Take no notice."""


@dataclass(frozen=True, eq=False)
class Begun:
    """A call that has a place."""

    since: float


@dataclass(frozen=True, eq=False)
class Queued:
    """A call that waits, in the model."""

    waiter: Waiter
    rank: int
    expires: float


class ConcurrencyMachine(RuleBasedStateMachine):
    """Calls of all priorities come, end, are cancelled and run out of time, in any order, while the limit moves."""

    waiting: Bundle[Queued] = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.adaptive = ScriptedLimit()
        self.state = ConcurrencyState(
            LIMIT,
            max_queued=MAX_QUEUED,
            max_queue_time=PATIENCE,
            shares=SHARES,
            adaptive=cast("GradientLimit", self.adaptive),
        )
        self.now = 0.0
        self.limit = LIMIT
        self.under_way = 0
        self.queue: list[Queued] = []
        self.held: float | None = None
        self.given: list[Queued] = []
        self.begun: list[Begun] = []

    def cap(self, rank: int) -> int:
        """Return the places that calls of a rank may use."""
        return max(1, self.limit * SHARES[rank] // 100)

    def expected(self, rank: int, deadline: float | None) -> Refusal | str | None:
        """Say what must become of a call that comes now."""
        if self.under_way < self.cap(rank):
            return None
        expires = min(self.now + PATIENCE, self.now + PATIENCE if deadline is None else deadline)
        ahead = sum(1 for each in self.queue if each.rank <= rank)
        if self.now + (ahead + 1) * (self.held or 0.0) / self.cap(rank) >= expires:
            return Refusal.TIME
        if len(self.queue) < MAX_QUEUED:
            return "waits"
        return "displaces" if any(each.rank > rank for each in self.queue) else Refusal.QUEUE

    @rule(
        target=waiting,
        priority=st.sampled_from([*RANKS]),
        patience=st.sampled_from([None, 0.5, 2.0, 20.0]),
    )
    def comes(self, priority: Priority | None, patience: float | None) -> MultipleResults[Queued] | Queued:
        """A call comes."""
        rank = RANKS[priority]
        deadline = None if patience is None else self.now + patience
        expected = self.expected(rank, deadline)
        verdict = self.state.acquire(self.now, deadline, priority)
        if not isinstance(verdict, Waiter):
            assert verdict is expected
            if verdict is None:
                self.under_way += 1
                self.begun.append(Begun(self.now))
            return multiple()
        assert expected in ("waits", "displaces")
        assert (verdict.displaced is not None) is (expected == "displaces")
        if verdict.displaced is not None:
            victim = max(enumerate(self.queue), key=lambda each: (each[1].rank, each[0]))[1]
            assert verdict.displaced is victim.waiter
            assert victim.waiter.refusal is Refusal.QUEUE
            self.queue.remove(victim)
        expires = self.now + PATIENCE if deadline is None else min(deadline, self.now + PATIENCE)
        queued = Queued(verdict, rank, expires)
        self.queue.append(queued)
        return queued

    @rule(number=st.integers(0, 20), limit=st.sampled_from([1, 2, 3, LIMIT, LIMIT, 6, 10]))
    def ends(self, number: int, limit: int) -> None:
        """A call under way ends, and the limit may change with it."""
        if not self.begun:
            return
        call = self.begun.pop(number % len(self.begun))
        self.adaptive.limit = self.limit = limit
        took = self.now - call.since
        self.held = took if self.held is None else self.held + (took - self.held) * 0.1
        self.under_way -= 1
        self.decide(self.state.released(self.now, call.since, Outcome.ANSWERED))

    @rule(queued=consumes(waiting))
    def leaves(self, queued: Queued) -> None:
        """A waiter is cancelled, or hears that its time is over: whatever was decided on it meanwhile."""
        before = (self.state.in_flight, self.state.queued)
        decided = self.state.left(queued.waiter, self.now)
        if queued in self.queue:
            self.queue.remove(queued)
            assert decided == ()
        elif queued in self.given:
            self.given.remove(queued)
            self.under_way -= 1
            self.decide(decided)
        else:
            assert (self.state.in_flight, self.state.queued) == before

    @rule(queued=consumes(waiting))
    def takes(self, queued: Queued) -> None:
        """A waiter that was given a place begins."""
        if queued in self.given:
            self.given.remove(queued)
            self.begun.append(Begun(self.now))

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 8.0]))
    def passes(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def decide(self, decided: Any) -> None:
        """Hand out places in the model; the state must have decided the same, in the same order."""
        expected: list[Waiter] = []
        for rank in range(3):
            for each in [each for each in self.queue if each.rank == rank]:
                if self.under_way >= self.cap(rank):
                    break
                self.queue.remove(each)
                expected.append(each.waiter)
                if each.expires <= self.now:
                    assert each.waiter.refusal is Refusal.TIME
                    assert not each.waiter.admitted
                else:
                    assert each.waiter.admitted
                    self.under_way += 1
                    self.given.append(each)
        assert list(decided) == expected

    @invariant()
    def counts_alike(self) -> None:
        """No place is lost or given twice, and no more wait than may."""
        assert self.state.in_flight == self.under_way == len(self.begun) + len(self.given)
        assert self.state.queued == len(self.queue) <= MAX_QUEUED

    @invariant()
    def nobody_waits_for_what_is_free(self) -> None:
        """Who waits has no place that it might use, unless its time is over."""
        for each in self.queue:
            assert self.under_way >= self.cap(each.rank)

    @invariant()
    def keeps_the_limit(self) -> None:
        """Nothing was ever admitted above its share: what is under way above the limit was there before it fell."""
        assert self.state.caps == tuple(self.cap(rank) for rank in range(3))


TestConcurrency = ConcurrencyMachine.TestCase
TestConcurrency.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
