"""Descriptors to model: request in, files of the model and what is wrong with them out."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest

from carrick_codegen._errors import ContractErrors
from carrick_codegen._events import EventReader
from carrick_codegen._options import OptionReader
from carrick_codegen._parameters import Parameters
from carrick_codegen._request import Contract, load
from carrick_codegen._services import ServiceReader
from carrick_codegen.model import File
from carrick_codegen.names import camel_case, importable, module_name, output_path

__all__ = ["read"]

_PACKAGE = (2,)
_SYNTAX = (12,)


def read(request: CodeGeneratorRequest, parameters: Parameters, errors: ContractErrors) -> tuple[File, ...]:
    """Return the model of every file to generate that has services or events. Raises MalformedRequestError."""
    pool, contracts = load(request)
    options = OptionReader(pool)
    events = EventReader(options, errors)
    files = []
    for contract in contracts:
        if not parameters.allow_carrick:
            _refuse_runtime_package(contract, errors)
        file = _file(contract, events, options, errors)
        if file.services or file.events:
            _check_names(file, contract, errors)
            files.append(file)
    return tuple(files)


def _file(contract: Contract, event_reader: EventReader, options: OptionReader, errors: ContractErrors) -> File:
    path, source = contract.file.name, contract.source
    events = event_reader.read(contract)
    return File(
        path=path,
        output=output_path(path),
        publisher=f"{camel_case(PurePosixPath(path).stem)}Events",
        comment=source.comment(_SYNTAX) or source.comment(_PACKAGE),
        services=ServiceReader(contract, events, options, errors).read(),
        events=events,
    )


def _refuse_runtime_package(contract: Contract, errors: ContractErrors) -> None:
    roots = {contract.file.package.split(".")[0], contract.file.name.split("/")[0]}
    if "carrick" in roots:
        errors.add(
            contract.source.at(_PACKAGE),
            "files of the package carrick are not generated: a folder carrick of generated code would shadow the "
            "runtime, which has this file's code already; leave the file out (buf: paths or exclude_paths of the "
            "input), or give the plugin allow_carrick=true",
        )


def _check_names(file: File, contract: Contract, errors: ContractErrors) -> None:
    module = module_name(file.path)
    if not importable(module):
        errors.add(
            contract.source.at(()),
            f"Python cannot import {module}; rename the file or folder that is a Python keyword or no identifier",
        )
    constants = [(method.constant, method.full_name) for service in file.services for method in service.methods]
    groups = [constants + [(event.constant, event.full_name) for event in file.events]]
    groups += [[(method.python_name, method.full_name) for method in service.methods] for service in file.services]
    groups += [[(event.python_name, event.full_name) for event in file.events]]
    for group in groups:
        _refuse_clashes(group, contract, errors)


def _refuse_clashes(names: Iterable[tuple[str, str]], contract: Contract, errors: ContractErrors) -> None:
    owners: dict[str, str] = {}
    for name, owner in names:
        first = owners.setdefault(name, owner)
        if first != owner:
            errors.add(
                contract.source.at(()), f"{first} and {owner} would both be {name} in Python; rename one of them"
            )
