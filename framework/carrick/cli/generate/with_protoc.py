"""Generating with protoc, from the same file and to the same bytes as with buf."""

import os
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from carrick.cli.generate.job import Job
from carrick.cli.generate.runtime_protos import OPTIONS, proto_path
from carrick.cli.generate.sources import Sources
from carrick.cli.generate.template import Plugin, Template
from carrick.cli.generate.tools import PROTOC, find_program, run_compiler
from carrick.errors import ConfigurationError

__all__ = ["generate_with_protoc"]

_TEMPLATE_KEYS = {"version", "inputs", "plugins", "clean"}
_INPUT_KEYS = {"directory", "paths", "exclude_paths"}
_PLUGIN_KEYS = {"local", "protoc_builtin", "out", "opt", "strategy"}
_THIS_PROTOC = "grpc_tools.protoc"


def generate_with_protoc(job: Job) -> str:
    """Generate, and return the compiler's warnings.

    Raises ``ConfigurationError`` for what only buf can do, and ``ContractError``.
    """
    _refuse_what_only_buf_does(job.template)
    warnings = []
    with tempfile.TemporaryDirectory(prefix="carrick-protoc-") as folder:
        for number, sources in enumerate(job.sources):
            assert sources is not None
            descriptors = Path(folder, f"{number}.binpb")
            warnings.append(_compile(sources, descriptors))
            for plugin in job.template.plugins:
                groups = _groups(job, sources, plugin)
                warnings += [_run(job, plugin, descriptors, files, Path(folder)) for files in groups]
    return "\n".join(filter(None, warnings))


def _refuse_what_only_buf_does(template: Template) -> None:
    for thing in _only_buf(template):
        raise ConfigurationError(
            f"{template.file} has {thing}, which only buf understands; run: pip install buf-bin (then --with buf), "
            "or take it out"
        )


def _only_buf(template: Template) -> Iterator[str]:
    yield from _beyond(template.given, _TEMPLATE_KEYS)
    for each in template.inputs:
        yield from _beyond(each.given, _INPUT_KEYS)
    for plugin in template.plugins:
        known = _PLUGIN_KEYS | ({"protoc_path"} if _THIS_PROTOC in plugin.protoc_path else set())
        yield from (f"{thing} for the plugin {plugin.name}" for thing in _beyond(plugin.given, known))


def _beyond(given: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    return (f'"{key}"' for key in given if key not in known)


def _compile(sources: Sources, descriptors: Path) -> str:
    """Compile to descriptors first, as buf does: what protoc makes from those names fields' JSON names too."""
    roots = [module.root for module in sources.workspace.modules]
    if not sources.workspace.holds(OPTIONS):
        roots.append(proto_path())
    includes = [f"-I{os.path.relpath(root)}" for root in roots]  # errors name files by these
    flags = ["--include_imports", "--include_source_info", f"--descriptor_set_out={descriptors}"]
    return run_compiler([*PROTOC, *includes, *flags, *(source.name for source in sources.files)])


def _groups(job: Job, sources: Sources, plugin: Plugin) -> Iterable[list[str]]:
    """Return the contracts of each run of a plugin."""
    names = [source.name for source in sources.files]
    if plugin.builtin or not job.each_folder(plugin):
        return [names]
    by_folder = groupby(sorted(names, key=_folder), key=_folder)
    return [list(group) for _, group in by_folder]


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _run(job: Job, plugin: Plugin, descriptors: Path, files: list[str], scratch: Path) -> str:
    flags = [] if plugin.builtin else [f"--plugin=protoc-gen-{_flag(plugin)}={_executable(plugin, scratch)}"]
    flags.append(f"--{_flag(plugin)}_out={job.folders[plugin.out]}")
    if options := job.options(plugin):
        flags.append(f"--{_flag(plugin)}_opt={options}")
    return run_compiler([*PROTOC, f"--descriptor_set_in={descriptors}", *flags, *files])


def _flag(plugin: Plugin) -> str:
    if plugin.builtin:
        return plugin.builtin
    return "local-" + PurePath(plugin.local[0]).name.removeprefix("protoc-gen-")  # never one of protoc's own


def _executable(plugin: Plugin, scratch: Path) -> Path:
    """Return the plugin as one program, which is all that protoc takes."""
    program = Path(str(find_program(plugin.local[0]))).absolute()
    if len(plugin.local) == 1:
        return program
    script = scratch / f"protoc-gen-{_flag(plugin)}"
    script.write_text(f'#!/bin/sh\nexec {shlex.join([str(program), *plugin.local[1:]])} "$@"\n', "utf-8")
    script.chmod(0o700)
    return script
