"""Subjects and the patterns that choose some of them."""

__all__ = ["matches"]


def matches(subject: str, pattern: str) -> bool:
    """Match a subject with NATS's wildcards: ``*`` one token, ``>`` the rest."""
    tokens, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(tokens) == len(wanted) and all(want in ("*", token) for token, want in zip(tokens, wanted, strict=True))
