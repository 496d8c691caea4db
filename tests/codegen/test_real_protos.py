"""Contracts that nobody here wrote: everything generated from them imports, answers calls, and is typed.

`make real-protos` prints what came of each package, and takes yandexcloud's thousand files besides.
"""

from pathlib import Path

import pytest

from tests.codegen.real.packages import imports, package
from tests.codegen.real.report import examine

PACKAGES = (
    "googleapis-common-protos",
    "grpcio-channelz",
    "grpcio-health-checking",
    "grpcio-reflection",
    "opentelemetry-proto",
    "protovalidate",
    "xds-protos",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where mypy keeps what it knows of the runtime."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_of_contracts(name: str, tmp_path: Path, cache: Path) -> None:
    """All files of a package generate in one run, each module is clean and typed, and each method can be called."""
    report = examine(package(name), imports(), tmp_path, cache)
    assert not report.failures, "\n".join(report.failures)
    assert report.modules > 0 or report.services == 0
