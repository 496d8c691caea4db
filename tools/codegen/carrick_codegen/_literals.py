"""Python literals as formatters write them."""

__all__ = ["string"]


def string(text: str) -> str:
    """Return a string on one line, in double quotes unless single ones need fewer backslashes."""
    body = repr(f"'\"{text}")[4:-1]  # a string with both quotes in it: repr escapes the single ones only
    if text.count('"') > text.count("'"):
        return f"'{body}'"
    body = body.replace("\\'", "'").replace('"', '\\"')
    return f'"{body}"'
