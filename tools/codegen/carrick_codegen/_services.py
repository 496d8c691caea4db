"""Services with their methods, as the model's."""

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from carrick_codegen import _policy, _policy_checks, _policy_fit
from carrick_codegen._errors import ContractErrors
from carrick_codegen._message_types import MessageTypes
from carrick_codegen._options import FILE, METHOD, SERVICE, OptionMessage, OptionReader
from carrick_codegen._request import Contract
from carrick_codegen._rules import RuleReader
from carrick_codegen._scope import Scope, Wanted
from carrick_codegen._source import FilePath
from carrick_codegen.model import Method, Policy, Service
from carrick_codegen.names import MEMBERS, constant_name, member_name, public

__all__ = ["ServiceReader"]

_SERVICES = 6
_METHODS = 2


_CLASSES = ("Client", "BlockingClient", "Servicer", "Fake")
"""What is behind a service's name in the names of its classes."""


class ServiceReader:
    """Reads the services of one file, whose names in Python are taken from the scope of its module."""

    def __init__(
        self,
        contract: Contract,
        module: Scope,
        types: MessageTypes,
        options: OptionReader,
        rules: RuleReader,
        errors: ContractErrors,
    ) -> None:
        self._services = tuple(contract.file.services_by_name.values())
        self._source = contract.source
        self._types = types
        self._options = options
        self._rules = rules
        self._errors = errors
        self._classes = {
            kind: [module.name(public(f"{each.name}{kind}")) for each in self._services] for kind in _CLASSES
        }
        self._constants = _constants([method for each in self._services for method in each.methods], module)
        self._policy = self._level(options.read(FILE, contract.file, contract.source, ()), Policy())
        self._deprecated = bool(contract.file.GetOptions().deprecated)

    def read(self) -> tuple[Service, ...]:
        """Return the file's services in its own order."""
        return tuple(self._service(index) for index in range(len(self._services)))

    def _service(self, index: int) -> Service:
        service, path = self._services[index], (_SERVICES, index)
        policy = self._level(self._options.read(SERVICE, service, self._source, path), self._policy)
        deprecated = self._deprecated or service.GetOptions().deprecated
        names = _members(service)
        return Service(
            full_name=service.full_name,
            client=self._classes["Client"][index],
            blocking_client=self._classes["BlockingClient"][index],
            servicer=self._classes["Servicer"][index],
            fake=self._classes["Fake"][index],
            comment=self._source.comment(path),
            deprecated=deprecated,
            methods=tuple(
                self._method(method, name, policy, deprecated, (*path, _METHODS, number))
                for number, (method, name) in enumerate(zip(service.methods, names, strict=True))
            ),
        )

    def _level(self, option: OptionMessage | None, inherited: Policy) -> Policy:
        """Return the policy of a file or a service, whose option holds one in a field."""
        if option is None:
            return inherited
        option.refuse_unknown(("policy",), self._errors)
        policy = option.part("policy")
        return inherited if policy is None else _policy.merge(inherited, _policy.read(policy, self._errors))

    def _method(
        self, method: MethodDescriptor, name: str, inherited: Policy, deprecated: bool, path: FilePath
    ) -> Method:
        option = self._options.read(METHOD, method, self._source, path)
        own = Policy() if option is None else _policy.read(option, self._errors)
        policy = inherited if option is None else _policy.merge(inherited, own)
        _policy_checks.check(policy, self._errors)
        _policy_fit.check(method, self._source.at(path), own, inherited, policy, self._errors)
        return Method(
            name=method.name,
            full_name=f"{method.containing_service.full_name}/{method.name}",
            streams_requests=method.client_streaming,
            streams_responses=method.server_streaming,
            python_name=name,
            constant=self._constants[method.full_name],
            comment=self._source.comment(path),
            request=self._types.of(method.input_type),
            response=self._types.of(method.output_type),
            idempotency_level=_idempotency_level(method),
            deprecated=deprecated or method.GetOptions().deprecated,
            policy=policy,
            validated=self._rules.applies_to(method.input_type),
        )


def _constants(methods: list[MethodDescriptor], module: Scope) -> dict[str, str]:
    """Name the specifications of methods after them; after their services too, where that name is another's."""
    wanted = [
        Wanted(each.name, (constant_name(each.name), constant_name(each.containing_service.name, each.name)))
        for each in methods
    ]
    return dict(zip((each.full_name for each in methods), module.names(wanted), strict=True))


def _members(service: ServiceDescriptor) -> list[str]:
    """Name the methods of a service's classes: snake case, or as in the contract where that name is another's."""
    wanted = [Wanted(method.name, (member_name(method.name), public(method.name))) for method in service.methods]
    return Scope(MEMBERS).names(wanted)


def _idempotency_level(method: MethodDescriptor) -> str | None:
    level = method.GetOptions().idempotency_level
    return None if level == MethodOptions.IDEMPOTENCY_UNKNOWN else MethodOptions.IdempotencyLevel.Name(level)
