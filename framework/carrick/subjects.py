"""Subjects and the patterns that choose some of them."""

from carrick.event import partition_in

__all__ = ["matches", "matches_any_partition"]


def matches(subject: str, pattern: str) -> bool:
    """Match a subject with NATS's wildcards: ``*`` one token, ``>`` the rest."""
    tokens, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(tokens) == len(wanted) and all(want in ("*", token) for token, want in zip(tokens, wanted, strict=True))


def matches_any_partition(subject: str, pattern: str) -> bool:
    """Match a subject with a pattern that may lack the partition, as a contract's subject does."""
    return matches(subject, pattern) or (partition_in(subject) is not None and matches(subject, f"{pattern}.*"))
