"""Imports that no folder has: looked for when a compiler failed, to say what is missing and where it may be put."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from carrick.cli.generate.sources import Sources
from carrick.cli.generate.workspace import Module

__all__ = ["imported", "missing_import"]

_WORD = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[^\s"';{}/]+|\S""", re.DOTALL)
_KINDS = {"public", "weak", "option"}
_STATEMENT_ENDS = {";", "}"}


def missing_import(sources: Sources, includes: Iterable[Path]) -> str | None:
    """Return a sentence about the first import that is neither in a module nor in ``includes``, or None."""
    roots = [*(module.root for module in sources.workspace.modules), *includes]
    reached = [source.path for source in sources.files]
    for path in reached:  # grows on the way
        for name in imported(path.read_text("utf-8", errors="replace")):
            found = next((root / name for root in roots if (root / name).is_file()), None)
            if found is None and not name.startswith("google/protobuf/"):  # those every compiler has
                return _sentence(path, name, sources, _like(name, roots))
            if found is not None and found not in reached:
                reached.append(found)
    return None


def imported(text: str) -> Iterator[str]:
    """Yield what a contract imports."""
    words = [word for word in _WORD.findall(text) if not word.startswith(("//", "/*"))]
    for before, word, name, after in zip([";", *words], words, words[1:], words[2:], strict=False):
        if word == "import" and before in _STATEMENT_ENDS:
            quoted = after if name in _KINDS else name
            if quoted[:1] in {'"', "'"}:
                yield quoted[1:-1]


def _like(name: str, roots: Iterable[Path]) -> str | None:
    """Return what may have been meant: the file there whose name is nearest, if one is near."""
    there = [path for root in roots for path, _ in Module(root).files()]
    return next(iter(difflib.get_close_matches(name, there, n=1, cutoff=0.8)), None)


def _sentence(path: Path, name: str, sources: Sources, like: str | None) -> str:
    folders = ", ".join(os.path.relpath(module.root) for module in sources.workspace.modules)
    if sources.workspace.deps:
        advice = "what buf.yaml has as deps only buf can fetch: pip install buf-bin, then --with buf"
    else:
        meant = f'did you mean "{like}"? if not, ' if like is not None else ""
        advice = f"{meant}put the file there, or list the folder that holds it as a module in buf.yaml"
    return f'{os.path.relpath(path)} imports "{name}", which is not in {folders}; {advice}'
