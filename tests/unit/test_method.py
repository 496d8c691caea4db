from carrick import IdempotencyLevel
from shop.orders.v1.orders_pb2 import PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import KEYED, OPTIONALLY_KEYED, PLAIN, READ, REPEATABLE, method


def test_the_full_name_is_the_path_on_the_wire() -> None:
    """Service and method are joined as gRPC does, without the first slash."""
    assert PLAIN.full_name == "test.v1.Tests/Plain"


def test_codecs_are_those_of_the_messages() -> None:
    """A spec encodes and decodes requests and responses of its own types."""
    request = PlaceOrderRequest(customer_id="c")
    response = PlaceOrderResponse(order_id="o")

    assert PLAIN.decode_request(PLAIN.encode_request(request)) == request
    assert PLAIN.decode_response(PLAIN.encode_response(response)) == response


def test_what_the_contract_says_about_repeating() -> None:
    """Both idempotency levels make a method repeatable; a key alone does not."""
    assert (REPEATABLE.repeatable, READ.repeatable) == (True, True)
    assert (PLAIN.repeatable, KEYED.repeatable) == (False, False)
    assert PLAIN.idempotency is IdempotencyLevel.UNKNOWN


def test_what_the_contract_says_about_keys() -> None:
    """A method is keyed where a rule is given, and the rule says whether the key is required."""
    assert [(each.keyed, each.key_required) for each in (PLAIN, OPTIONALLY_KEYED, KEYED)] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_methods_are_compared_by_identity() -> None:
    """Two specs that say the same are still two methods, each with state of its own."""
    assert method("Same") != method("Same")
    assert len({PLAIN, PLAIN, method("Plain")}) == 2
