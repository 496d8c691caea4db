"""A program that imports generated modules, each in a process of its own, and then calls all methods that they have.

It reads pairs of a module and the names of its services from stdin, as JSON, and writes for each pair the numbers of
calls made, of events, and what went wrong. The generated modules are on the path that it is started with. Calls are
made where nothing was forked: grpc does not bear it.
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
from tests.codegen.exercise_events import check_routes

PROVIDED = ("grpc.health.", "grpc.reflection.")
"""Services that every server has: it answers them itself."""


Answer = tuple[int, int, str]


def main() -> None:
    """Answer on stdout."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", r".* is deprecated by its contract", DeprecationWarning)
    pairs: list[tuple[str, list[str]]] = json.load(sys.stdin)
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        imported = pool.starmap(_import, pairs, chunksize=1)
    json.dump(asyncio.run(_call_all([name for name, _ in pairs], imported)), sys.stdout)


def _import(name: str, services: Sequence[str]) -> Answer:
    """Compare a module's specifications with the contract, and pair its events with handlers."""
    try:
        module = import_module(name)
        specs = [[_of_spec(route.spec) for route in servicer.routes()] for servicer in servicers(module)]
        assert sorted(specs) == sorted(_of_contract(service) for service in services)
        check_routes(module)
        return 0, sum(isinstance(value, EventSpec) for value in vars(module).values()), ""
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a module is what the caller wants to know
        return 0, 0, _told(error)


async def _call_all(names: Sequence[str], imported: Sequence[Answer]) -> list[Answer]:
    """Call all methods of the modules that can be imported."""
    answers = []
    for name, (_, events, fault) in zip(names, imported, strict=True):
        calls = 0
        if not fault:
            try:
                calls = await _call(import_module(name))
            except Exception as error:  # noqa: BLE001 - as above
                fault = _told(error)
        answers.append((calls, events, fault))
    return answers


async def _call(module: ModuleType) -> int:
    counts: Counter[str] = Counter()
    for servicer in servicers(module):
        routes = servicer.routes()
        if routes and not routes[0].spec.service.startswith(PROVIDED):
            await exercise(servicer, module, import_module(f"{module.__name__}_fakes"), counts)
    return counts["calls"]


def _told(error: Exception) -> str:
    return "".join(traceback.format_exception(error, limit=-1)).rstrip()


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
