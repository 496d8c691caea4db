"""W3C trace context (``traceparent`` and ``tracestate``), without any tracing library."""

import re

__all__ = ["Trace"]

_MAX_STATE = 512
_TRACE_ID, _SPAN_ID = slice(3, 35), slice(36, 52)
_LENGTH = len("00-") + 32 + len("-") + 16 + len("-01")
_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?",
).fullmatch


class Trace:
    """A position in a trace. Ids are lower-case hexadecimal, 32 and 16 digits. Never changed after construction."""

    __slots__ = ("parent", "sampled", "state")

    def __init__(self, trace_id: str, span_id: str, sampled: bool, state: str = "") -> None:
        self.parent = f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"
        """The position as a ``traceparent``."""
        self.sampled = sampled
        self.state = state

    @property
    def trace_id(self) -> str:
        """Id of the trace."""
        return self.parent[_TRACE_ID]

    @property
    def span_id(self) -> str:
        """Id of the span in it."""
        return self.parent[_SPAN_ID]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and (other.parent, other.state) == (self.parent, self.state)

    def __hash__(self) -> int:
        return hash((self.parent, self.state))

    def __repr__(self) -> str:
        return f"<Trace {self.parent}{self.state and f', {self.state}'}>"

    @staticmethod
    def parse(parent: object, state: object = None) -> "Trace | None":
        """Read what a peer sent; None when the parent is missing or malformed. A long state is dropped."""
        if not isinstance(parent, str) or not _PARENT(parent):
            return None
        if parent.startswith("00") and len(parent) > _LENGTH:  # only a later version may add to the end
            return None
        kept = state if isinstance(state, str) and len(state) <= _MAX_STATE else ""
        return Trace(parent[_TRACE_ID], parent[_SPAN_ID], parent[54] in "13579bdf", kept)
