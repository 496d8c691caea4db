"""What a contract says about one RPC method, as generated code hands it to the framework."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from carrick.errors import CarrickError, Code, ConfigurationError
from carrick.options import OUTAGES, FallbackOptions, KeyRule, MethodPolicy

__all__ = ["IdempotencyLevel", "MethodKind", "MethodSpec", "check_policy"]

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class MethodKind(Enum):
    """The shapes of a call."""

    UNARY = "unary"
    CLIENT_STREAM = "client_stream"
    SERVER_STREAM = "server_stream"
    BIDI_STREAM = "bidi_stream"


class IdempotencyLevel(Enum):
    """Protobuf's own ``idempotency_level`` of a method."""

    UNKNOWN = "unknown"
    NO_SIDE_EFFECTS = "no_side_effects"
    IDEMPOTENT = "idempotent"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodSpec(Generic[Req, Res]):
    """One method of one service. Compared and hashed by identity: there is one constant a method."""

    service: str
    """Full name of the service, ``shop.orders.v1.Orders``."""
    name: str
    """Name of the method in the contract, ``PlaceOrder``."""
    request: type[Req]
    response: type[Res]
    kind: MethodKind = MethodKind.UNARY
    idempotency: IdempotencyLevel = IdempotencyLevel.UNKNOWN
    policy: MethodPolicy = field(default_factory=MethodPolicy)
    validated: bool = False
    """Whether the contract has rules for requests (protovalidate's)."""

    full_name: str = field(init=False)
    """``shop.orders.v1.Orders/PlaceOrder``; on the wire with a slash in front."""
    encode_request: Callable[[Req], bytes] = field(init=False, repr=False)
    decode_request: Callable[[bytes], Req] = field(init=False, repr=False)
    encode_response: Callable[[Res], bytes] = field(init=False, repr=False)
    decode_response: Callable[[bytes], Res] = field(init=False, repr=False)
    keyed: bool = field(init=False)
    """Whether the contract gives the method an idempotency key."""
    key_required: bool = field(init=False)
    repeatable: bool = field(init=False)
    """Whether the contract says that executing the method twice does no harm."""
    streams_requests: bool = field(init=False)
    streams_responses: bool = field(init=False)

    def __post_init__(self) -> None:
        check_policy(self, self.policy)
        rule = self.policy.idempotency or None
        derived: dict[str, object] = {
            "full_name": f"{self.service}/{self.name}",
            "encode_request": self.request.SerializeToString,
            "decode_request": self.request.FromString,
            "encode_response": self.response.SerializeToString,
            "decode_response": self.response.FromString,
            "keyed": rule is not None,
            "key_required": rule is not None and rule.key is KeyRule.REQUIRED,
            "repeatable": self.idempotency is not IdempotencyLevel.UNKNOWN,
            "streams_requests": self.kind in (MethodKind.CLIENT_STREAM, MethodKind.BIDI_STREAM),
            "streams_responses": self.kind in (MethodKind.SERVER_STREAM, MethodKind.BIDI_STREAM),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def fallback(
        self,
        *,
        value: Res | Sequence[Res] | None = None,
        function: Callable[[Req, CarrickError], Res | Awaitable[Res] | AsyncIterator[Res]] | None = None,
        last_good: float | None = None,
        max_bytes: int = 16 * 1024 * 1024,
        codes: frozenset[Code] = OUTAGES,
    ) -> FallbackOptions:
        """Return a fallback whose value or function is of this method's types, for a policy given in code."""
        options = FallbackOptions(value=value, function=function, last_good=last_good, max_bytes=max_bytes, codes=codes)
        _check_fallback(self.full_name, self, options)
        return options


def check_policy(method: MethodSpec[Any, Any], policy: MethodPolicy) -> None:
    """Raise ``ConfigurationError`` where a policy, the contract's or one given in code, makes no sense for a method."""
    streaming = method.kind is not MethodKind.UNARY
    name = f"{method.service}/{method.name}"
    if policy.idempotency and streaming:
        raise ConfigurationError(
            f"{name} is streaming and cannot have an idempotency key: there is no one request "
            "and reply to keep; take the idempotency policy away from it"
        )
    if policy.cache and (streaming or method.idempotency is not IdempotencyLevel.NO_SIDE_EFFECTS):
        raise ConfigurationError(
            f"{name} cannot have a cache: caches are for unary methods with idempotency_level = NO_SIDE_EFFECTS; "
            "take the cache policy away from it, with CacheOptions(enabled=False) where a service or client gives it"
        )
    if policy.hedge and method.idempotency is IdempotencyLevel.UNKNOWN and not method.policy.idempotency:
        raise ConfigurationError(
            f"{name} cannot be hedged: executing it twice may do harm; give the method an idempotency_level or a key, "
            "or take the hedge policy away from it, with HedgeOptions(enabled=False) where a service or client gives it"
        )
    if policy.fallback:
        _check_fallback(name, method, policy.fallback)


def _check_fallback(name: str, method: MethodSpec[Any, Any], fallback: FallbackOptions) -> None:
    """Check the type of the value; a stream of responses has a sequence of them."""
    if fallback.last_good is not None and method.kind is not MethodKind.UNARY:
        raise ConfigurationError(f"{name} is streaming and has no last good reply; give its fallback a function")
    if fallback.value is None:
        return
    many = method.kind in (MethodKind.SERVER_STREAM, MethodKind.BIDI_STREAM)
    values = fallback.value if many and isinstance(fallback.value, Sequence) else [fallback.value]
    wrong = next((each for each in values if not isinstance(each, method.response)), None)
    if wrong is not None:
        wanted = f"a sequence of {method.response.__name__}" if many else f"a {method.response.__name__}"
        raise ConfigurationError(f"{name}: the fallback's value must be {wanted}, not a {type(wrong).__name__}")
