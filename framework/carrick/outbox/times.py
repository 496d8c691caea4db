"""When an event is to be published, and until when."""

import math
from dataclasses import dataclass
from datetime import datetime

from carrick.errors import Code, OutboxError

__all__ = ["Times"]


@dataclass(frozen=True, slots=True)
class Times:
    """Moments as the database is told of them: seconds from its now, save ``at``, which is seconds since the epoch."""

    delay: float | None
    at: float | None
    expires_in: float | None

    @classmethod
    def checked(cls, delay: float | None, at: datetime | None, expires_in: float | None, *, now: float) -> "Times":
        """Check what a user asked for at ``now``, seconds since the epoch. Raises ``OutboxError``."""
        if delay is not None and not 0 <= delay < math.inf:
            raise _refused(f"delay is seconds, 0 or more, not {delay}")
        if at is not None and at.utcoffset() is None:
            raise _refused(f"at is a moment with a time zone, like datetime.now(UTC) + timedelta(hours=1), not {at!r}")
        if delay is not None and at is not None:
            raise _refused("delay and at say the same thing; give one of them")
        if expires_in is not None and not 0 < expires_in < math.inf:
            raise _refused(f"expires_in is seconds, above 0, not {expires_in}")
        moment = None if at is None else at.timestamp()
        due_in = (delay or 0.0) if moment is None else moment - now
        if expires_in is not None and expires_in <= due_in:
            raise _refused(
                f"it would expire before it is published: expires_in is {expires_in:g} s, and it is due in {due_in:g} s"
            )
        return cls(
            delay=float(delay) if delay else None,
            at=moment,
            expires_in=None if expires_in is None else float(expires_in),
        )


def _refused(message: str) -> OutboxError:
    return OutboxError(Code.INVALID_ARGUMENT, message)
