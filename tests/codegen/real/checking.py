"""What is done with generated modules: compiled, imported, called, linted and type-checked."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.codegen.real.generating import Generated

__all__ = ["Called", "call_faults", "compile_faults", "lint_faults", "pyright_faults", "type_faults"]

ROOT = Path(__file__).resolve().parents[3]
PROBE = Path(__file__).with_name("probe.py")
MYPY = Path(__file__).with_name("mypy.ini")

PYRIGHT = {
    "typeCheckingMode": "strict",
    "pythonVersion": "3.11",
    "extraPaths": [str(ROOT / "framework")],
    "include": ["out/**/*_carrick.py", "out/**/*_carrick_fakes.py"],
    "ignore": ["out/grpc_health", "out/grpc_reflection"],  # pyright takes the installed stubs, which are older
}


@dataclass(frozen=True, slots=True)
class Called:
    """What came of importing modules and calling their methods."""

    calls: int
    events: int
    faults: dict[str, str]
    """What went wrong, by module."""


def compile_faults(generated: Generated) -> Iterator[str]:
    """Yield what Python's compiler refuses."""
    for file in _files(generated):
        try:
            compile(file.read_text("utf-8"), str(file), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            yield f"{file.relative_to(generated.folder)}: {error}"


def call_faults(generated: Generated) -> Called:
    """Import each module in a process of its own, and call all its methods in all ways that there are."""
    services = {
        file.name: [f"{file.package}.{service.name}".lstrip(".") for service in file.service]
        for file in generated.files.file
    }
    result = subprocess.run(
        [sys.executable, "-P", str(PROBE)],
        input=json.dumps([(module, services[path]) for path, module in generated.modules.items()]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(generated.folder), str(ROOT)])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers = list(zip(generated.modules.values(), json.loads(result.stdout), strict=True))
    return Called(
        calls=sum(calls for _, (calls, _, _) in answers),
        events=sum(events for _, (_, events, _) in answers),
        faults={module: fault for module, (_, _, fault) in answers if fault},
    )


def lint_faults(generated: Generated) -> list[str]:
    """Return names that are undefined or not used."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "--target-version", "py311"]
    return _complaints([*command, "--output-format", "concise", "--quiet", *map(str, _files(generated))])


def type_faults(generated: Generated, cache: Path) -> list[str]:
    """Return what mypy --strict says about the modules that an import statement can name."""
    flags = [f"--config-file={MYPY}", f"--cache-dir={cache}", "--no-error-summary"]
    paths = {"MYPYPATH": os.pathsep.join([str(generated.folder), str(ROOT / "framework")])}
    files = [str(path) for path in _files(generated) if _is_importable(path.relative_to(generated.folder))]
    return _complaints([sys.executable, "-m", "mypy", *flags, *files], **paths)


def _is_importable(path: Path) -> bool:
    return all(part.isidentifier() for part in path.with_suffix("").parts)


def pyright_faults(generated: Generated) -> list[str]:
    """Return what pyright, strict, says about the modules.

    The folder is not on its path, where a folder google would hide the stubs of google.protobuf: it finds modules
    beside and above the one that imports them. So it takes google.longrunning from what is installed, without a stub.
    """
    config = generated.folder.with_name("pyrightconfig.json")
    config.write_text(json.dumps(PYRIGHT))
    command = [sys.executable, "-m", "basedpyright", f"--project={config}", f"--pythonpath={sys.executable}"]
    errors = (line for line in _complaints(command) if " - error: " in line)
    return [line for line in errors if "reportMissingTypeStubs" not in line]


def _files(generated: Generated) -> list[Path]:
    return sorted(generated.folder.rglob("*_carrick*.py"))


def _complaints(command: list[str], **environment: str) -> list[str]:
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).splitlines()
    assert lines or result.returncode == 0, f"{command[:4]} ended with {result.returncode} and said nothing"
    return lines if result.returncode else []
