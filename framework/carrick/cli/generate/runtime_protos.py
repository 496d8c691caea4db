"""The contracts that the framework itself carries."""

from importlib import resources
from pathlib import Path

__all__ = ["OPTIONS", "proto_path"]

OPTIONS = "carrick/v1/options.proto"
"""What contracts import."""


def proto_path() -> Path:
    """Return the folder to give a compiler for ``import "carrick/v1/options.proto"``."""
    return Path(str(resources.files("carrick") / "_proto"))
