"""How the shop's services say no: a status with a reason for programs."""

from google.rpc.error_details_pb2 import ErrorInfo

from carrick import CarrickError, Code

__all__ = ["reason_of", "refusal"]

_DOMAIN = "shop"


def refusal(reason: str, message: str) -> CarrickError:
    """Make the error for what can't be done as things stand."""
    return CarrickError(Code.FAILED_PRECONDITION, message, [ErrorInfo(reason=reason, domain=_DOMAIN)])


def reason_of(error: CarrickError) -> str:
    """Return the reason that a refusal carries, or its message when it carries none."""
    reasons = (str(detail.reason) for detail in error.details if isinstance(detail, ErrorInfo))
    return next(reasons, error.message)
