"""W3C trace context (``traceparent`` and ``tracestate``), without any tracing library."""

import re
from dataclasses import dataclass

__all__ = ["Trace"]

_MAX_STATE = 512
_LENGTH = len("00-") + 32 + len("-") + 16 + len("-01")
_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?",
).fullmatch


@dataclass(slots=True, unsafe_hash=True)
class Trace:
    """A position in a trace. Ids are lower-case hexadecimal, 32 and 16 digits.

    Never changed after construction; not frozen, since each call makes one, and that would take three times as long.
    """

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""

    @property
    def parent(self) -> str:
        """The position as a ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @staticmethod
    def parse(parent: object, state: object = None) -> "Trace | None":
        """Read what a peer sent; None when the parent is missing or malformed. A long state is dropped."""
        if not isinstance(parent, str) or not _PARENT(parent):
            return None
        if parent.startswith("00") and len(parent) > _LENGTH:  # only a later version may add to the end
            return None
        kept = state if isinstance(state, str) and len(state) <= _MAX_STATE else ""
        return Trace(parent[3:35], parent[36:52], parent[54] in "13579bdf", kept)
