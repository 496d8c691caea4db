"""What a compiler is given to do."""

from dataclasses import dataclass
from pathlib import Path

from carrick.cli.generate.sources import Sources, find_sources
from carrick.cli.generate.template import RELATIVE_IMPORTS, Plugin, Template
from carrick.cli.generate.tools import find_program
from carrick.errors import ConfigurationError

__all__ = ["Job", "make_job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A template with its contracts found; code goes into a folder for each ``out``."""

    template: Template
    sources: tuple[Sources | None, ...]
    """Those of each input; None for one that only buf can fetch."""
    folders: dict[str, Path]
    """The temporary folder that stands in for each ``out``."""
    relative_imports: bool

    def options(self, plugin: Plugin) -> str:
        """Return what to hand to a plugin."""
        more = self.relative_imports and plugin.is_carrick and not plugin.asks_for_relative_imports
        return ",".join([*plugin.options, *([RELATIVE_IMPORTS] if more else [])])

    def each_folder(self, plugin: Plugin) -> bool:
        """Whether to run a plugin once for each folder of contracts, or once for all.

        The framework's own imports relatively what the same run generates, so then it has to be one run.
        """
        return plugin.each_folder and not (self.relative_imports and plugin.is_carrick)


def make_job(template: Template, into: Path, *, allow_carrick: bool, relative_imports: bool) -> Job:
    """Find contracts and plugins, and make the folders. Raises ``ConfigurationError`` for what is not there."""
    for plugin in template.plugins:
        if plugin.local and find_program(plugin.local[0]) is None:
            raise ConfigurationError(
                f"{template.file}: there is no program {plugin.local[0]}; install it, or put it on PATH"
            )
    sources = tuple(
        None if each.directory is None else find_sources(template, each, allow_carrick=allow_carrick)
        for each in template.inputs
    )
    folders = {out: into / str(number) for number, out in enumerate(template.outs)}
    for folder in folders.values():
        folder.mkdir()
    return Job(template=template, sources=sources, folders=folders, relative_imports=relative_imports)
