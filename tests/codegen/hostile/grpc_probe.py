"""A program that imports modules of grpc's own plugin, each in a process of its own, and sets up all that they have.

It reads names of modules from stdin, as JSON, and writes what went wrong with each, or null.
"""

import importlib
import json
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


def main() -> None:
    """Answer on stdout."""
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        json.dump(pool.map(_fault, json.load(sys.stdin), chunksize=1), sys.stdout)


def _fault(name: str) -> str | None:
    try:
        _set_up(vars(importlib.import_module(name)))
    except (SyntaxError, AttributeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _set_up(members: dict[str, Any]) -> None:
    services = [name.removesuffix("Servicer") for name in members if name.endswith("Servicer")]
    server = grpc.server(ThreadPoolExecutor(1))
    for service in services:
        members[f"add_{service}Servicer_to_server"](members[f"{service}Servicer"](), server)
        members[f"{service}Stub"](grpc.insecure_channel("127.0.0.1:1"))


if __name__ == "__main__":
    main()
