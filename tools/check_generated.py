"""Tell whether the committed generated code is what the contracts give: `make check-generated`."""

import difflib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

__all__ = ["Tree", "differences", "main"]

ROOT = Path(__file__).resolve().parents[1]
_DIFF_LINES = 20


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder of generated files, made by one buf template."""

    template: str
    folder: str
    pattern: str
    """Which files below the folder are generated; the others are somebody's own."""

    def files(self, root: Path) -> dict[str, Path]:
        """Return the generated files below ``root``, by path."""
        found = (path for path in (root / self.folder).rglob(self.pattern) if path.is_file())
        return {str(path.relative_to(root)): path for path in found if "__pycache__" not in path.parts}


TREES = (
    Tree("buf.gen.runtime.yaml", "framework/carrick/v1", "*_pb2*"),
    Tree("buf.gen.yaml", "services/gen", "*"),
)


def main() -> int:
    """Generate into a temporary folder, print what differs, and return 1 when anything does."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        for tree in TREES:
            _generate(tree.template, fresh)
        found = [line for tree in TREES for line in differences(tree, committed=ROOT, fresh=fresh)]
    if not found:
        print("generated code is up to date")
        return 0
    print("\n".join(found))
    print("\ngenerated code differs from the contracts; run: make generate (and delete the stale files)")
    return 1


def differences(tree: Tree, *, committed: Path, fresh: Path) -> Iterator[str]:
    """Yield a line for each file that is missing, stale or different, with the start of its diff."""
    old, new = tree.files(committed), tree.files(fresh)
    for path in sorted(old.keys() | new.keys()):
        if path not in old:
            yield f"missing: {path}"
        elif path not in new:
            yield f"stale: {path} (no contract gives this file)"
        elif old[path].read_bytes() != new[path].read_bytes():
            yield f"different: {path}"
            yield from _diff(path, old[path], new[path])


def _diff(path: str, old: Path, new: Path) -> Iterator[str]:
    before, after = (file.read_text("utf-8", errors="replace").splitlines() for file in (old, new))
    lines = difflib.unified_diff(before, after, "committed", "generated", n=1, lineterm="")
    for line in islice(lines, _DIFF_LINES):
        yield f"  {line[:160]}"


def _generate(template: str, output: Path) -> None:
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(programs / "buf"), "generate", "--template", template, "--output", str(output)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        sys.exit(f"{result.stderr.strip()}\n{' '.join(command)} failed in {ROOT}; nothing was compared")


if __name__ == "__main__":
    sys.exit(main())
