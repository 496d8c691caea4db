"""The packages whose contracts are tried: some that are installed here, and some that lie in a cache, not installed."""

import functools
import zipfile
from importlib.metadata import distribution, distributions
from pathlib import Path

from tests.codegen.real.corpus import Corpus, read_corpus

__all__ = ["CACHE", "FETCHED", "INSTALLED", "imports", "package"]

CACHE = Path(__file__).resolve().parents[3] / "build" / "real-protos"
INSTALLED = ("googleapis-common-protos", "grpcio-health-checking", "grpcio-reflection", "opentelemetry-proto")
FETCHED = ("grpcio-channelz", "protovalidate", "xds-protos", "yandexcloud")


def package(name: str) -> Corpus:
    """Return the contracts of one of the packages."""
    if name in INSTALLED:
        return read_corpus(distribution(name))
    return read_corpus(next(iter(distributions(path=[str(_unpacked(name))]))))


@functools.cache
def imports() -> Corpus:
    """Return the contracts that those of other packages import."""
    return package("googleapis-common-protos")


def _unpacked(name: str) -> Path:
    folder = CACHE / "unpacked" / name
    if folder.exists():
        return folder
    wheels = list((CACHE / "wheels").glob(f"{name.replace('-', '_')}-*.whl"))
    if not wheels:
        raise FileNotFoundError(f"{name} is not in {CACHE}; run `make setup`")
    part = folder.with_suffix(".part")
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(part)
    return part.rename(folder)
