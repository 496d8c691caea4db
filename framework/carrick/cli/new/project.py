"""Making the folder of a new service: complete, or not at all."""

import tempfile
from contextlib import chdir
from pathlib import Path

from carrick.cli.generate import Generation, choose_template
from carrick.cli.new.name import Name
from carrick.cli.new.scaffold import scaffold
from carrick.errors import ConfigurationError

__all__ = ["make_project"]


def make_project(name: Name, parent: Path) -> Path:
    """Make a folder of that name below ``parent``, generate its code, and return it.

    Everything is made in a folder beside it, which takes its name when it is complete. Raises ``ConfigurationError``
    when the folder is there and not empty, or when nothing can be generated.
    """
    target = parent / name.project
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise ConfigurationError(f"{target} is there already and not empty; choose another name, or move it away")
    with tempfile.TemporaryDirectory(prefix=f".{name.project}-", dir=parent, ignore_cleanup_errors=True) as scratch:
        made = Path(scratch, name.project)
        made.mkdir()
        for path, text in scaffold(name).items():
            file = made / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        with chdir(made):
            Generation(template=choose_template(None, None, None)).write(lambda _: None)
        made.rename(target)
    return target
