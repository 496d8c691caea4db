"""One run: compile into a temporary folder, compare with what is there, and write or tell what differs."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carrick.cli.generate.changes import Changes, decide
from carrick.cli.generate.disk import prune, read, remove, replace
from carrick.cli.generate.imports import missing_import
from carrick.cli.generate.job import Job, make_job
from carrick.cli.generate.manifest import format_manifest, manifest_file, parse_manifest
from carrick.cli.generate.plugin_errors import plain_errors
from carrick.cli.generate.relative_imports import relative_imports
from carrick.cli.generate.report import differences, summary
from carrick.cli.generate.runtime_protos import proto_path
from carrick.cli.generate.template import Template
from carrick.cli.generate.tools import Compiler, ContractError, choose_compiler
from carrick.cli.generate.with_buf import generate_with_buf
from carrick.cli.generate.with_protoc import generate_with_protoc
from carrick.errors import ConfigurationError

__all__ = ["Generation"]

_MANY = 50
_MESSAGE_SUFFIXES = ("_pb2.py", "_pb2.pyi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a user asked for."""

    template: Template
    compiler: Compiler | None = None
    relative_imports: bool = False
    allow_carrick: bool = False

    def write(self, say: Callable[[str], None]) -> None:
        """Generate, and bring the output folders up to date. Raises ``ConfigurationError`` and ``ContractError``."""
        fresh = self._fresh(say)
        changes = self._changes(fresh)
        remove(changes.remove)  # first: their paths may differ from new ones in case only
        for path, content in changes.write.items():
            replace(path, content)
        prune(changes.remove, self.template.outs)
        for path in changes.left:
            say(f"left {path}: no contract gives it, but it was changed by hand; delete it if nobody needs it")
        self._write_manifest(changes)
        say(summary(changes, len(fresh)))

    def check(self, say: Callable[[str], None]) -> bool:
        """Generate, write nothing, and tell what differs. Returns whether all is up to date."""
        changes = self._changes(self._fresh(say))
        found = list(differences(changes, read))
        manifest = manifest_file(self.template)
        if not found and read(manifest) != format_manifest(changes.checksums, manifest):
            found.append(f"different: {manifest} (the list of generated files)")
        for line in found:
            say(line)
        return not found

    def _changes(self, fresh: dict[Path, bytes]) -> Changes:
        manifest = manifest_file(self.template)
        known = parse_manifest((read(manifest) or b"").decode("utf-8", errors="replace"), manifest)
        return decide(fresh, known, self.template.outs, read)

    def _write_manifest(self, changes: Changes) -> None:
        manifest = manifest_file(self.template)
        content = format_manifest(changes.checksums, manifest)
        if read(manifest) != content:
            replace(manifest, content)

    def _fresh(self, say: Callable[[str], None]) -> dict[Path, bytes]:
        """Return all generated files by their paths, relative to here."""
        compiler = choose_compiler(self.compiler)
        relative = self.relative_imports or any(each.asks_for_relative_imports for each in self.template.plugins)
        with tempfile.TemporaryDirectory(prefix="carrick-generate-") as folder:
            job = make_job(self.template, Path(folder), allow_carrick=self.allow_carrick, relative_imports=relative)
            count = sum(len(sources.files) for sources in job.sources if sources)
            if count >= _MANY:
                say(f"compiling {count} contracts with {compiler} ...")
            warnings = _compile(job, compiler)
            if warnings:
                say(warnings)
            files: dict[Path, bytes] = {}
            for out, generated in job.folders.items():
                tree = _tree(generated, relative=relative)
                files |= {Path(os.path.relpath(Path(out, name))): content for name, content in tree.items()}
        return files


def _compile(job: Job, compiler: Compiler) -> str:
    try:
        return generate_with_buf(job) if compiler is Compiler.BUF else generate_with_protoc(job)
    except ContractError as error:
        inputs = list(filter(None, job.sources))
        for sources in inputs:
            missing = missing_import(sources, [proto_path()])
            if missing and not (sources.workspace.deps and compiler is Compiler.BUF):
                raise ConfigurationError(missing) from error
        raise ContractError(plain_errors(error.message, inputs)) from error


def _tree(folder: Path, *, relative: bool) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if relative:
        modules = {_module(name) for name in files if name.endswith(_MESSAGE_SUFFIXES)}
        for name, content in files.items():
            if name.endswith(_MESSAGE_SUFFIXES):
                files[name] = relative_imports(content.decode(), _module(name), modules).encode()
    return files


def _module(name: str) -> str:
    return name.rpartition(".")[0].replace("/", ".")
