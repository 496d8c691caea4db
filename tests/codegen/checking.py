"""Generated code beside protoc's, and the tools that have to be content with it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from carrick_codegen._layout import WIDTH
from carrick_codegen.plugin import generate
from tests.codegen.compiling import INCLUDES, ROOT, compile_folder

PYTHON = [sys.executable, "-m"]

_MYPY = """[mypy]
strict = true
explicit_package_bases = true
follow_imports = silent
follow_imports_for_stubs = true
"""

_PYRIGHT = """{
  "typeCheckingMode": "strict",
  "pythonVersion": "3.11",
  "extraPaths": ["%s", "%s"],
  "include": ["gen/**/*_carrick.py", "gen/**/*_carrick_fakes.py"]
}
"""


class GeneratedTree:
    """Modules for all contracts of a folder, in a folder ``gen``: protoc's, and the plugin's by path.

    With relative imports ``gen`` is a package, without them it is a place on Python's path.
    """

    def __init__(self, contracts: Path, folder: Path, parameter: str = "") -> None:
        shutil.copytree(contracts, folder / "proto", dirs_exist_ok=True)
        self.folder = folder
        self.gen = folder / "gen"
        self.gen.mkdir()
        self.root = folder if "relative_imports=true" in parameter else self.gen
        self.request = compile_folder(folder / "proto", parameter=parameter)
        response = generate(self.request)
        assert not response.error, response.error
        self.files = {file.name: file.content for file in response.file}
        outputs = [f"--python_out={self.gen}", f"--pyi_out={self.gen}"]
        self.run(*PYTHON, "grpc_tools.protoc", f"-I{folder / 'proto'}", *INCLUDES, *outputs, *self._contracts())
        for name, content in self.files.items():
            (self.gen / name).parent.mkdir(parents=True, exist_ok=True)
            (self.gen / name).write_text(content, "utf-8")

    def _contracts(self) -> list[str]:
        return sorted(self.request.file_to_generate)

    def run(self, *command: str, **environment: str) -> str:
        """Run a program in the tree's folder, and return what it prints; that is shown when it fails."""
        variables = {**os.environ, **environment}
        result = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}:\n{result.stdout}{result.stderr}"
        return result.stdout

    def check_format(self) -> None:
        """Let ``ruff format`` find nothing to change."""
        self.run(*PYTHON, "ruff", "format", "--isolated", "--diff", f"--line-length={WIDTH}", *self._paths())

    def check_lint(self) -> None:
        """Let ruff find nothing undefined, nothing unused and no malformed escape."""
        rules = ["--ignore-noqa", "--select=E9,F,W605", "--target-version=py311"]
        self.run(*PYTHON, "ruff", "check", "--isolated", *rules, *self._paths())

    def check_imports(self) -> None:
        """Import every module, and with it all that it says it has."""
        names = [name.removesuffix(".py").replace("/", ".") for name in self.files]
        lines = [f"m = import_module({name!r}); [getattr(m, each) for each in m.__all__]" for name in names]
        code = "\n".join(["from importlib import import_module", *lines])
        self.run(sys.executable, "-W", "error", "-c", code, PYTHONPATH=str(self.gen))

    def check_calls(self) -> str:
        """Call every method over real gRPC, and have every event handled; return how many of all these there were."""
        names = [name.removesuffix(".py").replace("/", ".") for name in self.files if name.endswith("_carrick.py")]
        paths = {"PYTHONPATH": f"{self.gen}:{ROOT}"}
        return self.run(sys.executable, "-W", "ignore", "-m", "tests.codegen.exercise", *names, **paths)

    def check_types(self) -> None:
        """Let mypy and pyright, both strict, find nothing in the generated modules."""
        (self.folder / "mypy.ini").write_text(_MYPY)
        (self.folder / "pyrightconfig.json").write_text(_PYRIGHT % (self.root, ROOT / "framework"))
        flags = ["--config-file=mypy.ini", "--cache-dir=cache"]
        self.run(*PYTHON, "mypy", *flags, *self._paths(), MYPYPATH=f"{self.root}:{ROOT / 'framework'}")
        self.run(*PYTHON, "basedpyright", "--pythonpath", sys.executable)

    def _paths(self) -> list[str]:
        return [str(self.gen / name) for name in self.files]
