"""What came of the contracts of one package, from generating to type-checking."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.codegen.real.checking import call_faults, compile_faults, lint_faults, pyright_faults, type_faults
from tests.codegen.real.corpus import Corpus
from tests.codegen.real.generating import Generated, generate

__all__ = ["SHAPES", "Report", "examine"]

SHAPES = {  # streaming of requests and of responses
    (False, False): "unary",
    (True, False): "client",
    (False, True): "server",
    (True, True): "bidi",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Counts, and what failed."""

    package: str
    files: int
    modules: int
    """Files for which there is a generated module."""
    services: int
    shapes: Counter[str]
    """Methods by the shape of their calls."""
    calls: int = 0
    events: int = 0
    failures: tuple[str, ...]


def examine(corpus: Corpus, imports: Corpus, folder: Path, cache: Path, *, pyright: bool = False) -> Report:
    """Generate for all files of a package and check what comes out; ``imports`` may have files that they import.

    ``cache`` is mypy's. Pyright is slow, and asked only when it is to be.
    """
    generated = generate(corpus, imports, folder)
    failures = [*generated.faults, *compile_faults(generated)]
    if not generated.modules or failures:
        return _report(generated, failures)
    called = call_faults(generated)
    failures += [f"{module}: {fault}" for module, fault in called.faults.items()]
    failures += [*lint_faults(generated), *type_faults(generated, cache)]
    if pyright:
        failures += pyright_faults(generated)
    return _report(generated, failures, calls=called.calls, events=called.events)


def _report(generated: Generated, failures: Sequence[str], *, calls: int = 0, events: int = 0) -> Report:
    services = [service for file in generated.files.file for service in file.service]
    methods = [method for service in services for method in service.method]
    return Report(
        package=generated.corpus.name,
        files=len(generated.corpus.paths),
        modules=len(generated.modules),
        services=len(services),
        shapes=Counter(SHAPES[method.client_streaming, method.server_streaming] for method in methods),
        calls=calls,
        events=events,
        failures=tuple(failures),
    )
