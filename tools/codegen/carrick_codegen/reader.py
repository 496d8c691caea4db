"""Descriptors to model: request in, files of the model and what is wrong with them out."""

from pathlib import PurePosixPath

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor import FileDescriptor

from carrick_codegen._errors import ContractErrors
from carrick_codegen._events import EventReader
from carrick_codegen._message_types import MessageTypes
from carrick_codegen._options import OptionReader
from carrick_codegen._parameters import Parameters
from carrick_codegen._request import Contract, load
from carrick_codegen._rules import RuleReader
from carrick_codegen._scope import Scope
from carrick_codegen._services import ServiceReader
from carrick_codegen.model import File
from carrick_codegen.names import RUNTIME_MODULES, camel_case, fakes_output_path, module_name, output_path

__all__ = ["read"]

_PACKAGE = (2,)
_SYNTAX = (12,)


def read(request: CodeGeneratorRequest, parameters: Parameters, errors: ContractErrors) -> tuple[File, ...]:
    """Return the model of every file to generate that has services or events. Raises MalformedRequestError."""
    pool, contracts = load(request)
    types = MessageTypes(frozenset(request.file_to_generate))
    options = OptionReader(pool)
    rules = RuleReader(options)
    event_reader = EventReader(types, options, errors)
    files = []
    for contract in contracts:
        if not parameters.allow_carrick:
            _refuse_runtime_package(contract, errors)
        module = Scope(RUNTIME_MODULES)
        events = event_reader.read(contract, module)
        services = ServiceReader(contract, module, types, options, rules, errors).read()
        if services or events:
            files.append(
                File(
                    path=contract.file.name,
                    output=output_path(contract.file.name),
                    fakes_output=fakes_output_path(contract.file.name),
                    relative_imports=parameters.relative_imports,
                    loads=all(map(_loads, contract.file.dependencies)),
                    publisher=module.name(_publisher(contract.file.name, "Events")),
                    blocking_publisher=module.name(_publisher(contract.file.name, "BlockingEvents")),
                    comment=contract.source.comment(_SYNTAX) or contract.source.comment(_PACKAGE),
                    services=services,
                    events=events,
                )
            )
    return tuple(files)


def _loads(imported: FileDescriptor) -> bool:
    return all(part.isidentifier() for part in module_name(imported.name).split("."))


def _publisher(path: str, suffix: str) -> str:
    return f"{camel_case(PurePosixPath(path).stem)}{suffix}"


def _refuse_runtime_package(contract: Contract, errors: ContractErrors) -> None:
    roots = {contract.file.package.split(".")[0], contract.file.name.split("/")[0]}
    if "carrick" in roots:
        errors.add(
            contract.source.at(_PACKAGE),
            "files of the package carrick are not generated: a folder carrick of generated code would shadow the "
            "runtime, which has this file's code already; leave the file out (buf: paths or exclude_paths of the "
            "input), or give the plugin allow_carrick=true",
        )
