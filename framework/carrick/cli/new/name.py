"""What a service may be called, given that its name becomes a package, a service and a subject."""

import keyword
import re
import sys
from collections.abc import Container
from dataclasses import dataclass
from importlib.metadata import packages_distributions

from carrick.errors import ConfigurationError

__all__ = ["Name", "check_name"]

_PACKAGE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*").fullmatch
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MAX_LENGTH = 40
_FOLDERS = {"proto", "tests", "wheels"}
_MESSAGES = {"add_entry_request", "add_entry_response", "entry_added"}
_RUNTIME = {"carrick", "carrick_codegen"}


@dataclass(frozen=True, slots=True)
class Name:
    """A name that can be used."""

    project: str
    """The folder, and the distribution: ``order-desk``."""

    @property
    def package(self) -> str:
        """The Python package, and what stands first in subjects: ``order_desk``."""
        return self.project.replace("-", "_")

    @property
    def service(self) -> str:
        """The service in the contract: ``OrderDesk``."""
        return "".join(word.capitalize() for word in self.package.split("_"))


def check_name(text: str) -> Name:
    """Return the name. Raises ``ConfigurationError`` that says what to write instead."""
    name = Name(text)
    fault = _fault(name.package, packages_distributions())
    if fault is not None:
        raise ConfigurationError(f'a service cannot be called "{text}": {fault}; write: carrick new {_instead(text)}')
    return name


def _fault(package: str, installed: Container[str]) -> str | None:
    if not _PACKAGE(package) or len(package) > _MAX_LENGTH:
        return (
            f"a name is of small letters, digits and single dashes, begins with a letter, and has {_MAX_LENGTH} at most"
        )
    if keyword.iskeyword(package):
        return "that is a word of Python's own"
    if package in sys.stdlib_module_names:
        return "its package would hide the module of that name in Python's library"
    if package in _RUNTIME or package in installed:
        return "its package would hide the installed package of that name"
    if package in _FOLDERS:
        return "its package would be in the place of another folder of the project"
    if package in _MESSAGES:
        return "a message of the example is called so"
    return None


def _instead(text: str) -> str:
    """Return a name near to the one that cannot be used."""
    words = re.findall(r"[a-z0-9]+", _WORD_START.sub("-", text).lower())
    near = "-".join(words).lstrip("0123456789-")[: _MAX_LENGTH // 2].rstrip("-") or "greeter"
    return near if _fault(near.replace("-", "_"), packages_distributions()) is None else f"{near}-service"
