"""What the policies do together, in the simulations of ``make bench-policies``: in virtual time, so always the same."""

from tests.bench.simulation.scenarios import overload, storm


def test_shedding_keeps_a_server_going_in_overload() -> None:
    """At twice the capacity nearly all of it becomes answers in time; without shedding hardly any."""
    results = overload(seconds=8).results
    assert results["goodput_with_shedding"] >= 0.9
    assert results["goodput_with_adaptive_shedding"] >= 0.9
    assert results["goodput_without"] < 0.3


def test_retries_do_not_multiply_through_three_hops() -> None:
    """While the last hop fails, it gets little more than the calls at the top; with naive retries many times that."""
    results = storm().results
    assert results["amplification_carrick"] < 1.5
    assert results["amplification_naive"] > 5
