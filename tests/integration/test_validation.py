"""Validation over the wire, in every shape that has requests, with protovalidate's own engine."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest

from carrick import (
    Code,
    ConfigurationError,
    Context,
    IdempotencyOptions,
    KeyRule,
    MethodKind,
    MethodRoute,
    MethodSpec,
    RemoteError,
)
from carrick.rpc import Channel, Server
from carrick.store import IdempotencyRecords
from carrick.store.sqlite import SqliteDatabase
from tests.integration.serving import until
from tests.unit.rules import SHOP, messages, ruled

shop = messages(SHOP)
TEA = shop.Line(sku="tea", quantity=1)
VALID = shop.Order(customer_id="c-1", lines=[TEA])
INVALID = shop.Order(customer_id="c-1", lines=[TEA, shop.Line(sku="tea")])


class Rules:
    """A servicer of one method, which tells which customers' orders its handler got."""

    def __init__(self, kind: MethodKind = MethodKind.UNARY, *, validated: bool = True, keyed: bool = False) -> None:
        rule = IdempotencyOptions(key=KeyRule.REQUIRED) if keyed else None
        self.method = ruled(kind, request=shop.Order, response=shop.Reply, idempotency=rule)
        if not validated:
            self.method = MethodSpec(
                service="test.rules.Rules", name="Unchecked", request=shop.Order, response=shop.Reply
            )
        self.got: list[str] = []
        self.handler: Any = {
            MethodKind.UNARY: self.unary,
            MethodKind.SERVER_STREAM: self.server_stream,
            MethodKind.CLIENT_STREAM: self.client_stream,
            MethodKind.BIDI_STREAM: self.bidi_stream,
        }[kind]

    def routes(self) -> tuple[MethodRoute[Any, Any], ...]:
        """Return the one route."""
        return (MethodRoute(self.method, self.handler),)

    async def unary(self, request: Any, ctx: Context) -> Any:
        """Take one."""
        self.got.append(request.customer_id)
        return shop.Reply()

    async def server_stream(self, request: Any, ctx: Context) -> AsyncIterator[Any]:
        """Take one, answer with one."""
        self.got.append(request.customer_id)
        yield shop.Reply()

    async def client_stream(self, requests: AsyncIterator[Any], ctx: Context) -> Any:
        """Take many."""
        async for each in requests:
            self.got.append(each.customer_id)
        return shop.Reply()

    async def bidi_stream(self, requests: AsyncIterator[Any], ctx: Context) -> AsyncIterator[Any]:
        """Answer each."""
        async for each in requests:
            self.got.append(each.customer_id)
            yield shop.Reply()


async def _call(channel: Channel, rules: Rules, *requests: Any) -> int:
    """Call with these requests, and return how many responses came."""

    async def each() -> AsyncIterator[Any]:
        for request in requests:
            yield request

    match rules.method.kind:
        case MethodKind.UNARY:
            await channel.unary(rules.method)(requests[0])
            return 1
        case MethodKind.CLIENT_STREAM:
            await channel.client_stream(rules.method)(each())
            return 1
        case MethodKind.SERVER_STREAM:
            return len([reply async for reply in channel.server_stream(rules.method)(requests[0])])
        case MethodKind.BIDI_STREAM:
            return len([reply async for reply in channel.bidi_stream(rules.method)(each())])


@pytest.mark.parametrize("kind", MethodKind)
async def test_an_invalid_request_is_answered_with_its_fields(kind: MethodKind) -> None:
    """INVALID_ARGUMENT with path, description and reason of each; the handler gets valid requests only."""
    rules = Rules(kind)
    async with Server(rules) as server, Channel(server.address) as channel:
        assert await _call(channel, rules, VALID) == 1
        with pytest.raises(RemoteError) as caught:
            await _call(channel, rules, INVALID)
    assert rules.got == ["c-1"]
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "the request is not valid: lines[1].quantity: must be greater than 0"
    (details,) = caught.value.details
    assert isinstance(details, BadRequest)
    (violation,) = details.field_violations
    assert (violation.field, violation.description, violation.reason) == (
        "lines[1].quantity",
        "must be greater than 0",
        "UINT32_GT",
    )


@pytest.mark.parametrize("kind", [MethodKind.CLIENT_STREAM, MethodKind.BIDI_STREAM])
async def test_a_bad_message_in_the_middle_ends_the_stream(kind: MethodKind) -> None:
    """Those before it were handled, and none after it is."""
    rules = Rules(kind)
    async with Server(rules) as server, Channel(server.address) as channel:
        with pytest.raises(RemoteError) as caught:
            await _call(channel, rules, VALID, VALID, INVALID, VALID)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert rules.got == ["c-1", "c-1"]


async def test_a_bad_message_is_answered_while_the_stream_is_still_open() -> None:
    """The caller need not end its requests to hear of it, and its source is closed."""
    rules, closed = Rules(MethodKind.CLIENT_STREAM), asyncio.Event()

    async def endless() -> AsyncIterator[Any]:
        try:
            yield INVALID
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with Server(rules) as server, Channel(server.address) as channel:
        with pytest.raises(RemoteError, match="not valid"):
            await channel.client_stream(rules.method)(endless())
        await until(closed)


async def test_an_invalid_request_claims_no_key(database: SqliteDatabase) -> None:
    """The key stays free for the corrected request."""
    rules = Rules(keyed=True)
    async with Server(rules, claims=IdempotencyRecords(database)) as server, Channel(server.address) as channel:
        with pytest.raises(RemoteError) as caught:
            await channel.unary(rules.method)(INVALID, key="k")
    assert caught.value.code is Code.INVALID_ARGUMENT
    async with database.read() as tx:
        assert (await tx.execute("SELECT * FROM carrick_idempotency")).all() == []


async def test_a_method_without_rules_is_not_checked() -> None:
    """What a contract does not ask for is not in the stack, and needs no package."""
    rules = Rules(validated=False)
    async with Server(rules) as server, Channel(server.address) as channel:
        await _call(channel, rules, shop.Order())
    assert rules.got == [""]


async def test_a_rule_that_fails_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """INTERNAL for the caller; neither status nor log has what the request held, nor the engine's words."""
    rules = Rules()
    with caplog.at_level(logging.DEBUG):
        async with Server(rules) as server, Channel(server.address) as channel:
            with pytest.raises(RemoteError) as caught:
                await _call(channel, rules, shop.Order(customer_id="swordfish", lines=[TEA], share=7))
    assert caught.value.code is Code.INTERNAL
    assert "share.whole" in caplog.text
    for words in ("swordfish", "zero"):
        assert words not in caplog.text
        assert words not in caught.value.message


async def test_a_redacted_value_is_in_neither_status_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the rule says."""
    rules = Rules()
    with caplog.at_level(logging.DEBUG):
        async with Server(rules) as server, Channel(server.address) as channel:
            with pytest.raises(RemoteError) as caught:
                await _call(channel, rules, shop.Order(customer_id="c", lines=[TEA], password="swordfish"))  # noqa: S106
    assert "swordfish" not in caplog.text
    assert "swordfish" not in str(caught.value.details) + str(caught.value)


def test_a_server_is_not_made_without_protovalidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install; a server without rules does not ask."""
    monkeypatch.setitem(sys.modules, "protovalidate", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'carrick\[validation\]'"):
        Server(Rules())
    Server(Rules(validated=False))


def test_a_server_is_not_made_with_a_rule_that_does_not_compile() -> None:
    """The first request would be too late to hear of it."""
    made = messages("message Bad { string a = 1 [(buf.validate.field).uint32.gt = 1]; }")
    rules = Rules()
    rules.method = ruled(request=made.Bad, response=made.Bad)
    with pytest.raises(ConfigurationError, match=r"a rule of test\.rules\.Bad can't be used"):
        Server(rules)
