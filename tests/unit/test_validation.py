"""protovalidate's findings in the framework's words, and the rules that it can't use."""

import sys
from typing import Any

import protovalidate
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from buf.validate import validate_pb2
from carrick import CarrickError, Code, ConfigurationError
from carrick.policy.validation import Violation
from carrick.validation import request_check
from shop.orders.v1.orders_pb2 import GetOrderRequest
from tests.unit.rules import SHOP, messages, ruled

shop = messages(SHOP)
check = request_check(ruled(request=shop.Order, response=shop.Reply))


def order(**fields: Any) -> Any:
    """Return an order with what every order needs, and with these fields."""
    return shop.Order(**{"customer_id": "c-1", "lines": [shop.Line(sku="tea", quantity=1)], **fields})


def found(**fields: Any) -> list[tuple[str, str, str]]:
    """Check such an order."""
    return [(each.field, each.description, each.rule) for each in check(order(**fields))]


def test_a_valid_message_breaks_nothing() -> None:
    """Nothing is found."""
    assert found() == []


def test_fields_are_named_by_their_path() -> None:
    """Through lists by index and through maps by key, each with the rule's own words and id."""
    bad = shop.Line(sku="tea")
    assert found(
        customer_id="", lines=[shop.Line(sku="tea", quantity=1), bad], by_shelf={7: bad}, labels={"a.b": 9}
    ) == [
        ("customer_id", "must be at least 1 characters", "string.min_len"),
        ("lines[1].quantity", "must be greater than 0", "uint32.gt"),
        ('labels["a.b"]', "must be less than 5", "uint32.lt"),
        ("by_shelf[7].quantity", "must be greater than 0", "uint32.gt"),
    ]


def test_a_rule_of_the_message_has_no_field() -> None:
    """Its own words say what it is about."""
    assert found(gift=True) == [("", "a gift needs a note", "order.gift")]


def test_a_long_key_is_cut() -> None:
    """A map's key is the caller's, and may be as long as a message."""
    ((field, _, _),) = found(labels={"k" * 10_000: 9})
    assert field == f'labels["{"k" * 64}"]'


def test_what_a_rule_says_is_passed_on() -> None:
    """A rule may put the value into its own message: that is the contract's decision."""
    assert found(nick="boor") == [("nick", "boor is rude", "nick.rude")]


def test_redacted_fields_show_nothing() -> None:
    """Of a field marked debug_redact neither value nor key is told, whatever the rule says."""
    assert found(password="swordfish", tokens={"swordfish": 9}) == [  # noqa: S106
        ("tokens[...]", "breaks the rule uint32.lt", "uint32.lt"),
        ("password", "breaks the rule password.known", "password.known"),
    ]


def test_a_large_request_is_told_its_first_violation_only() -> None:
    """To list a million of them would hold up everything else."""
    assert len(check(order(lines=[shop.Line()] * 7))) == 14
    assert len(check(order(lines=[shop.Line()] * 1000))) == 21  # of 2000: one more than are sent
    assert len(check(order(lines=[shop.Line()] * 10_000))) == 1


def test_a_rule_that_fails_is_the_servers_fault() -> None:
    """INTERNAL, with the rule's id and nothing of what it was evaluated for."""
    with pytest.raises(CarrickError) as caught:
        check(order(share=7))
    assert caught.value.code is Code.INTERNAL
    assert caught.value.message == (
        "the contract's rule share.whole for requests of test.rules.Rules/RuledUnary can't be evaluated"
    )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("(buf.validate.field).uint32.gt = 1", "a rule of test.rules.Bad can't be used: expected rule"),
        ('(buf.validate.field).cel = {id: "x", expression: "this ++ 1"}', "a rule of test.rules.Bad can't be used"),
        ('(buf.validate.field).cel = {id: "x", expression: "nobody(this)"}', "a rule of test.rules.Bad can't be used"),
        ('(buf.validate.field).cel = {id: "x", expression: "this.no > 1"}', "can't be used: error evaluating x"),
    ],
)
@pytest.mark.parametrize("request_type", ["Bad", "Holder", "Far"])
def test_a_bad_rule_is_refused_before_any_request(rule: str, complaint: str, request_type: str) -> None:
    """When the server is made: in the request itself, or in whatever it may hold."""
    made = messages(
        f"message Bad {{ string a = 1 [{rule}]; Far again = 2; }}"
        "message Holder { repeated Bad bad = 1; Holder self = 2; }"
        "message Far { map<string, Holder> holders = 1; }"
    )
    with pytest.raises(ConfigurationError, match=r"test\.rules\.Rules/RuledUnary: ") as caught:
        request_check(ruled(request=getattr(made, request_type), response=made.Bad))
    assert complaint in caught.value.message


def test_without_protovalidate_the_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it serves a request unchecked."""
    monkeypatch.setitem(sys.modules, "protovalidate", None)
    with pytest.raises(ConfigurationError, match=r"RuledUnary has rules .* pip install 'carrick\[validation\]'"):
        request_check(ruled(request=shop.Order, response=shop.Reply))


def test_a_violation_is_plain_data() -> None:
    """Of the framework's own type: nothing of protovalidate's leaves the adapter."""
    (violation,) = check(order(gift=True))
    assert type(violation) is Violation


def test_the_copied_options_are_those_of_protovalidate() -> None:
    """The contracts' rules are written in the options that the installed package was made with."""
    (violation,) = protovalidate.Validator().collect_violations(GetOrderRequest())
    installed = FileDescriptorProto.FromString(type(violation.proto).desc().file.proto.to_binary())
    copied = FileDescriptorProto()
    validate_pb2.DESCRIPTOR.CopyToProto(copied)
    assert _fields(copied) == _fields(installed), "copy validate.proto of the version in requirements.lock"


def _fields(file: FileDescriptorProto) -> set[tuple[str, str, int, int, bytes]]:
    return {
        (message.name, field.name, field.number, field.type, field.options.SerializeToString(deterministic=True))
        for message in file.message_type
        for field in message.field
    }
