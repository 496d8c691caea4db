"""The programs that do the work: which there are, and running them."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from carrick.errors import CarrickError, Code, ConfigurationError

__all__ = ["PROTOC", "Compiler", "ContractError", "choose_compiler", "find_program", "has_grpc_tools", "run_compiler"]

PROTOC = (sys.executable, "-m", "grpc_tools.protoc")


class Compiler(StrEnum):
    """What reads the contracts and runs the plugins."""

    BUF = "buf"
    PROTOC = "protoc"


class ContractError(CarrickError):
    """A compiler refused the contracts; the message is what it says, and may have several lines."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message)


def choose_compiler(wanted: Compiler | None) -> Compiler:
    """Return the compiler asked for, or buf where it is, or else protoc. Raises ``ConfigurationError``."""
    if wanted is not Compiler.PROTOC and find_program("buf"):
        return Compiler.BUF
    if wanted is Compiler.BUF:
        raise ConfigurationError("there is no buf here; run: pip install buf-bin, or say --with protoc")
    if has_grpc_tools():
        return Compiler.PROTOC
    if wanted is Compiler.PROTOC:
        raise ConfigurationError('there is no grpc_tools.protoc here; run: pip install "carrick[codegen]"')
    raise ConfigurationError('there is neither buf nor grpc_tools.protoc here; run: pip install "carrick[codegen]"')


def has_grpc_tools() -> bool:
    """Whether ``python -m grpc_tools.protoc`` would find its module."""
    return importlib.util.find_spec("grpc_tools") is not None


def find_program(name: str) -> str | None:
    """Return the path of a program beside this interpreter or else on ``PATH``, or None."""
    return shutil.which(name, path=_search_path())


def run_compiler(command: Sequence[str]) -> str:
    """Run a compiler and return its warnings. Raises ``ContractError`` with what it says when it fails."""
    environment = {**os.environ, "PATH": _search_path()}
    done = subprocess.run(  # noqa: S603  # no shell, and the user's own plugins
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = "\n".join(filter(None, (done.stderr.strip(), done.stdout.strip())))
    if done.returncode:
        raise ContractError(said or f"{command[0]} ended with status {done.returncode} and said nothing")
    return said


def _search_path() -> str:
    return os.pathsep.join(filter(None, (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))))
