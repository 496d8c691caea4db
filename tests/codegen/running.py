"""The plugin run as a program, in this process."""

import io
import sys
from types import SimpleNamespace

import pytest

from carrick_codegen import plugin

__all__ = ["run"]


def run(data: bytes) -> tuple[bytes, str | int | None]:
    """Run the program on ``data``; return its stdout and what it exits with."""
    stdin = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
    stdout = SimpleNamespace(buffer=io.BytesIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        patch.setattr(sys, "stdout", stdout)
        try:
            plugin.main()
        except SystemExit as exit_:
            return stdout.buffer.getvalue(), exit_.code
    return stdout.buffer.getvalue(), 0
