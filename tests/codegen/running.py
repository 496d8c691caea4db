"""The plugin run in this process: as a program, and for one contract."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from carrick_codegen import plugin
from tests.codegen.compiling import compile_files

__all__ = ["errors_of", "run", "text_of"]


def errors_of(folder: Path, body: str) -> list[str]:
    """Return what the plugin says about one contract file, for which it then generates nothing."""
    response = plugin.generate(compile_files(folder, orders=body))
    assert bool(response.file) is not bool(response.error)
    return response.error.splitlines()


def text_of(folder: Path, body: str) -> str:
    """Return the module that the plugin generates for one contract file without errors."""
    response = plugin.generate(compile_files(folder, orders=body))
    assert not response.error
    return response.file[0].content


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
