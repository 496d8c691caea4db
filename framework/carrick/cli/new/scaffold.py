"""The files of a new service: templates of this package, with the name put in."""

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

import carrick
from carrick.cli.new.name import Name

__all__ = ["scaffold"]

_SUFFIX = ".template"


def scaffold(name: Name) -> dict[PurePosixPath, str]:
    """Return the files of a project by their paths, without those that are generated from its contract."""
    words = {
        "project": name.project,
        "package": name.package,
        "service": name.service,
        "version": carrick.__version__,
    }
    return {
        PurePosixPath(str(path).replace("PACKAGE", name.package).removesuffix(_SUFFIX)): _filled(text, words)
        for path, text in _templates(resources.files(__package__) / "template", PurePosixPath())
    }


def _templates(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _templates(each, at / each.name)
        else:
            yield at / each.name, each.read_text("utf-8")


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text
