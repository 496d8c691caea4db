"""Parts of a policy that do not fit the method they are for."""

from collections.abc import Iterator

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from carrick_codegen._errors import ContractErrors
from carrick_codegen._source import Place
from carrick_codegen.model import Policy

__all__ = ["check"]


def check(
    method: MethodDescriptor, at: Place, own: Policy, inherited: Policy, policy: Policy, errors: ContractErrors
) -> None:
    """Report what of a method's merged policy does not fit it.

    That is told at the part, when the method has it of its own, and else at the method, with how to take it away. Nor
    does it make sense to go on about a part that is switched off.
    """
    for part, fault in _misfits(method, policy):
        advice = f" with {part}: {{enabled: false}}" if part in inherited.parts else ""
        errors.add(
            policy.parts[part].at if part in own.parts else at,
            f"method {method.full_name} {fault} take the {part} policy away from it{advice}",
        )
    for part in own.parts.keys() & inherited.parts.keys():
        if not policy.asks_for(part) and "enabled" not in own.parts[part].fields:
            errors.add(
                own.parts[part].at,
                f"{part} is switched off for this method ({inherited.parts[part].at}); "
                f"add enabled: true to have it here, or leave {part} out",
            )


def _misfits(method: MethodDescriptor, policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield the parts that do not fit, each with why, and what to do if not to take it away."""
    streaming = method.client_streaming or method.server_streaming
    level = method.GetOptions().idempotency_level
    if streaming and policy.asks_for("idempotency"):
        reason = "there is no one request and reply to keep"
        cure = "give the idempotency policy to the unary methods only, or"
        yield "idempotency", f"is streaming and cannot have an idempotency key: {reason}; {cure}"
    if policy.asks_for("cache") and (streaming or level != MethodOptions.NO_SIDE_EFFECTS):
        reason = "caches are for unary methods with idempotency_level = NO_SIDE_EFFECTS"
        yield "cache", f"cannot have a cache: {reason};"
    if policy.asks_for("hedge") and level == MethodOptions.IDEMPOTENCY_UNKNOWN and not policy.asks_for("idempotency"):
        cure = "give the method an idempotency_level or a key, or"
        yield "hedge", f"cannot be hedged: executing it twice may do harm; {cure}"
    if streaming and policy.asks_for("fallback"):
        yield "fallback", "is streaming and has no last good reply: there is no one reply to keep;"
