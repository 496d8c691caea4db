"""Generating with buf, in a workspace made for the purpose: the user's modules, and the framework's contracts.

Buf takes no module from outside of a workspace, and ``buf.yaml`` cannot name the folder that pip installed. So links to
the modules are laid beside a link to that folder. Users need not copy ``carrick/v1/options.proto``.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carrick.cli.generate.job import Job
from carrick.cli.generate.runtime_protos import OPTIONS, proto_path
from carrick.cli.generate.sources import Sources
from carrick.cli.generate.template import Input, Plugin
from carrick.cli.generate.tools import PROTOC, ContractError, find_program, has_grpc_tools, run_compiler
from carrick.cli.generate.workspace import Module, Workspace

__all__ = ["generate_with_buf"]

_NOT_HANDED_ON = {"inputs", "plugins", "clean"}
"""``clean`` would delete folders: stale files are removed one by one."""


def generate_with_buf(job: Job) -> str:
    """Generate, and return the compiler's warnings. Raises ``ContractError``."""
    with tempfile.TemporaryDirectory(prefix="carrick-buf-") as folder:
        workspaces = Path(folder)
        inputs = [
            dict(given.given) if sources is None else _input(given, sources, workspaces / str(number))
            for number, (given, sources) in enumerate(zip(job.template.inputs, job.sources, strict=True))
        ]
        template = workspaces / "buf.gen.json"
        template.write_text(json.dumps(_template(job, inputs)), "utf-8")
        try:
            return run_compiler([str(find_program("buf")), "generate", "--template", str(template)])
        except ContractError as error:
            raise ContractError(_as_the_user_knows_it(error.message, job, workspaces)) from error


def _template(job: Job, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    given = {key: value for key, value in job.template.given.items() if key not in _NOT_HANDED_ON}
    return given | {"inputs": inputs, "plugins": [_plugin(job, plugin) for plugin in job.template.plugins]}


def _plugin(job: Job, plugin: Plugin) -> dict[str, Any]:
    changed: dict[str, Any] = {"out": str(job.folders[plugin.out])}
    if not job.each_folder(plugin):
        changed["strategy"] = "all"
    if options := job.options(plugin):
        changed["opt"] = options
    if plugin.builtin and not plugin.protoc_path and has_grpc_tools():  # as without buf
        changed["protoc_path"] = list(PROTOC)
    return {**plugin.given, **changed}


def _input(given: Input, sources: Sources, folder: Path) -> dict[str, Any]:
    links = _lay(sources.workspace, folder)
    files = [str(links[source.module] / source.name) for source in sources.files]
    rest = {key: value for key, value in given.given.items() if key not in {"paths", "exclude_paths"}}
    return rest | {"directory": str(folder), "paths": files}


def _lay(workspace: Workspace, folder: Path) -> Mapping[Module, Path]:
    """Make the workspace and return where its modules are."""
    folder.mkdir()
    links = {module: folder / str(number) for number, module in enumerate(workspace.modules)}
    modules = []
    for module, link in links.items():
        link.symlink_to(module.root, target_is_directory=True)
        modules.append(
            {"path": link.name}
            | {
                key: [f"{link.name}/{path.relative_to(module.root).as_posix()}" for path in paths]
                for key, paths in (("includes", module.includes), ("excludes", module.excludes))
                if paths
            }
        )
    if not workspace.holds(OPTIONS):
        (folder / "runtime").symlink_to(proto_path(), target_is_directory=True)
        modules.append({"path": "runtime"})
    config = {"version": "v2", "modules": modules, "deps": list(workspace.deps)}
    (folder / "buf.yaml").write_text(json.dumps(config), "utf-8")
    lock = workspace.root / "buf.lock"
    if lock.exists():
        shutil.copyfile(lock, folder / "buf.lock")
    return links


def _as_the_user_knows_it(message: str, job: Job, workspaces: Path) -> str:
    """Put the paths of the user's own files in place of those through the links."""
    for number, sources in enumerate(job.sources):
        for link, module in enumerate(sources.workspace.modules if sources else ()):
            shown = os.path.relpath(module.root)
            message = message.replace(f"{workspaces / str(number) / str(link)}/", "" if shown == "." else f"{shown}/")
    return message
