"""Subjects of events, ``orders.placed.v1``."""

import re

__all__ = ["fault"]

_TOKEN = re.compile(r"[a-z0-9_-]+")
_VERSION = re.compile(r"v[0-9]+")


def fault(subject: str) -> str | None:
    """Return what is wrong with a subject, or None when it is well formed."""
    tokens = subject.split(".")
    wrong = next((token for token in tokens if not _TOKEN.fullmatch(token)), None)
    if any(sign in subject for sign in "*>"):
        return "it holds a wildcard, but an event is published to one subject"
    if wrong == "":
        return "there is nothing before, behind or between its dots"
    if wrong is not None:
        return f'"{wrong}" holds other signs than lower-case letters, digits, "-" and "_"'
    if len(tokens) < 2:
        return "it needs two tokens or more, with dots between"
    if not _VERSION.fullmatch(tokens[-1]):
        return f'its last token is "{tokens[-1]}" instead of a version like "v1"'
    return None
