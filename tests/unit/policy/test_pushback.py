"""How a call is turned away."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from carrick import Code, Context
from carrick.policy.pushback import PUSHBACK, pushback, turned_away
from tests.unit.calls import PLAIN


def test_it_says_why_and_when_to_come_back() -> None:
    """To gRPC's retry in a trailer, to programs in the details."""
    ctx = Context(PLAIN)
    ctx.call.trailers += (("x-own", "kept"),)
    error = turned_away(ctx, "not now", reason="TOO_MUCH", wait=0.25, metadata={"by": "tenant"})
    assert (error.code, error.message, error.attempt) == (Code.RESOURCE_EXHAUSTED, "not now", None)
    assert ctx.call.trailers == (("x-own", "kept"), (PUSHBACK, "250"))
    assert error.details == (
        ErrorInfo(reason="TOO_MUCH", domain="carrick", metadata={"by": "tenant"}),
        RetryInfo(retry_delay=Duration(nanos=250_000_000)),
    )


@pytest.mark.parametrize(("wait", "seconds"), [(0.0, 0.001), (1e-9, 0.001), (0.0101, 0.011), (1e9, 2147483.647)])
def test_the_wait_is_rounded_up_to_milliseconds(wait: float, seconds: float) -> None:
    """Who comes back after it is not early; 0 would mean at once, and what is too large for gRPC is shortened."""
    ctx = Context(PLAIN)
    turned_away(ctx, "not now", reason="TOO_MUCH", wait=wait, metadata={})
    assert pushback(ctx.call.trailers) == pytest.approx(seconds)
