"""A program that imports generated modules, each in a process of its own, and calls every method that they have.

It reads pairs of a module and the names of its services from stdin, as JSON, and writes for each pair the numbers of
calls made, of events, and what went wrong. The generated modules are on the path that it is started with.
"""

import asyncio
import json
import multiprocessing
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from carrick import EventSpec, MethodSpec
from tests.codegen.exercise import exercise, servicers

PROVIDED = ("grpc.health.", "grpc.reflection.")
"""Services that every server has: it answers them itself."""


def main() -> None:
    """Answer on stdout."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", r".* is deprecated by its contract", DeprecationWarning)
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        json.dump(pool.map(_probe, json.load(sys.stdin), chunksize=1), sys.stdout)


def _probe(pair: tuple[str, list[str]]) -> tuple[int, int, str]:
    name, services = pair
    try:
        module = import_module(name)
        events = sum(isinstance(value, EventSpec) for value in vars(module).values())
        return asyncio.run(_call_all(module, services)), events, ""
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a module is what the caller wants to know
        return 0, 0, "".join(traceback.format_exception(error, limit=-1)).rstrip()


async def _call_all(module: ModuleType, services: Sequence[str]) -> int:
    """Compare a module's specifications with the contract, and call all methods; return how many calls there were."""
    made = list(servicers(module))
    specs = [[_of_spec(route.spec) for route in servicer.routes()] for servicer in made]
    assert sorted(specs) == sorted(_of_contract(service) for service in services)
    counts: Counter[str] = Counter()
    for servicer in made:
        routes = servicer.routes()
        if routes and not routes[0].spec.service.startswith(PROVIDED):
            await exercise(servicer, module, import_module(f"{module.__name__}_fakes"), counts)
    return counts["calls"]


def _of_contract(service: str) -> list[tuple[str, str, str, str, bool, bool]]:
    methods: list[MethodDescriptor] = list(descriptor_pool.Default().FindServiceByName(service).methods)
    return [
        (
            service,
            method.name,
            method.input_type.full_name,
            method.output_type.full_name,
            method.client_streaming,
            method.server_streaming,
        )
        for method in methods
    ]


def _of_spec(spec: MethodSpec[Any, Any]) -> tuple[str, str, str, str, bool, bool]:
    types = spec.request.DESCRIPTOR.full_name, spec.response.DESCRIPTOR.full_name
    return spec.service, spec.name, *types, spec.streams_requests, spec.streams_responses


if __name__ == "__main__":
    main()
