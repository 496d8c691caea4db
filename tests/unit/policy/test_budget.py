"""The retry budget against its rule, with every call and retry in a list."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from carrick import CarrickError, Code, RetryBudgetOptions
from carrick.policy.budget import RetryBudget, pay_in
from carrick.service import stack
from carrick.testing import FakeClock
from tests.unit.calls import REQUEST, Scripted, first_attempt

_OPTIONS = RetryBudgetOptions(ratio=0.25, per_second=0.5, window=10.0)


class BudgetMachine(RuleBasedStateMachine):
    """Calls and retries come in any order while time passes, a second at a time: a slice of the window is a second."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = RetryBudget(_OPTIONS)
        self.now = 0
        self.calls: list[int] = []
        self.retries: list[int] = []

    def recent(self, times: list[int]) -> int:
        """Return how many happened in the window."""
        return sum(time > self.now - 10 for time in times)

    @rule(count=st.integers(1, 8))
    def call(self, count: int) -> None:
        """Calls come."""
        for _ in range(count):
            self.budget.called(self.now)
            self.calls.append(self.now)

    @rule()
    def retry(self) -> None:
        """A retry is wanted."""
        paid = 0.25 * self.recent(self.calls) + 5 - self.recent(self.retries)
        assert self.budget.withdraw(self.now) is (paid >= 1)
        if paid >= 1:
            self.retries.append(self.now)

    @rule(seconds=st.sampled_from([1, 3, 12]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @invariant()
    def retries_are_bounded(self) -> None:
        """In a window there are never more retries than its calls, and time, could have paid for."""
        assert self.budget.counts(self.now) == (self.recent(self.calls), self.recent(self.retries))


TestBudget = BudgetMachine.TestCase
TestBudget.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)


def test_retries_are_a_fifth_of_the_calls_and_ten_a_second() -> None:
    """With its defaults: 500 calls in ten seconds, all of which fail, have 100 + 100 retries."""
    budget = RetryBudget(RetryBudgetOptions())
    granted = 0
    for number in range(500):
        budget.called(number / 50)
        granted += sum(budget.withdraw(number / 50) for _ in range(3))
    assert granted == 200


def test_the_refusal_says_why() -> None:
    """What an observer is told has the numbers that the decision was made from."""
    budget = RetryBudget(RetryBudgetOptions(ratio=0.0, per_second=0.1))
    assert budget.withdraw(1.0)
    budget.called(1.0)
    assert not budget.withdraw(1.0)
    assert budget.refusal(1.0) == "the retry budget is spent: 1 retries and hedges beside 1 calls"


@pytest.mark.parametrize("outcome", [Code.OK, Code.UNAVAILABLE])
async def test_every_call_pays_in(outcome: Code) -> None:
    """Whatever comes of it."""
    budget = RetryBudget(_OPTIONS)
    clock = FakeClock()
    service = stack(Scripted(outcome), pay_in(budget, clock=clock))
    try:
        await service(REQUEST, first_attempt())
    except CarrickError:
        assert outcome is not Code.OK
    assert budget.counts(clock.monotonic()) == (1, 0)
