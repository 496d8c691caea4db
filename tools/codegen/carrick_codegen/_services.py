"""Services with their methods, as the model's."""

from collections.abc import Sequence

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from carrick_codegen import _policy
from carrick_codegen._errors import ContractErrors
from carrick_codegen._message_types import message_type
from carrick_codegen._options import FILE, METHOD, SERVICE, OptionMessage, OptionReader
from carrick_codegen._request import Contract
from carrick_codegen._source import FilePath, Location
from carrick_codegen.model import Event, Method, Policy, Service
from carrick_codegen.names import constant_name, member_name

__all__ = ["ServiceReader"]

_SERVICES = 6
_METHODS = 2


class ServiceReader:
    """Reads the services of one file, which may have events with specifications of their own."""

    def __init__(
        self, contract: Contract, events: Sequence[Event], options: OptionReader, errors: ContractErrors
    ) -> None:
        self._contract = contract
        methods = (method for service in contract.file.services_by_name.values() for method in service.methods)
        self._constants = [event.constant for event in events] + [constant_name(method.name) for method in methods]
        self._source = contract.source
        self._options = options
        self._errors = errors
        self._policy = self._level(options.read(FILE, contract.file, contract.source, ()), Policy())

    def read(self) -> tuple[Service, ...]:
        """Return the file's services in its own order."""
        services = self._contract.file.services_by_name.values()
        return tuple(self._service(service, (_SERVICES, index)) for index, service in enumerate(services))

    def _service(self, service: ServiceDescriptor, path: FilePath) -> Service:
        policy = self._level(self._options.read(SERVICE, service, self._source, path), self._policy)
        return Service(
            name=service.name,
            full_name=service.full_name,
            comment=self._source.comment(path),
            methods=tuple(
                self._method(method, policy, (*path, _METHODS, index)) for index, method in enumerate(service.methods)
            ),
        )

    def _level(self, option: OptionMessage | None, inherited: Policy) -> Policy:
        """Return the policy of a file or a service, whose option holds one in a field."""
        if option is None:
            return inherited
        option.refuse_unknown(("policy",), self._errors)
        policy = option.part("policy")
        return inherited if policy is None else _policy.merge(inherited, _policy.read(policy, self._errors))

    def _method(self, method: MethodDescriptor, inherited: Policy, path: FilePath) -> Method:
        option = self._options.read(METHOD, method, self._source, path)
        policy = inherited if option is None else _policy.merge(inherited, _policy.read(option, self._errors))
        _policy.check(policy, self._errors)
        at = self._source.at(path)
        self._refuse_key_of_stream(method, policy, at)
        service = method.containing_service
        return Method(
            name=method.name,
            full_name=f"{service.full_name}/{method.name}",
            streams_requests=method.client_streaming,
            streams_responses=method.server_streaming,
            python_name=member_name(method.name),
            constant=self._constant(method),
            comment=self._source.comment(path),
            request=message_type(method.input_type, at, self._errors),
            response=message_type(method.output_type, at, self._errors),
            idempotency_level=_idempotency_level(method),
            policy=policy,
        )

    def _refuse_key_of_stream(self, method: MethodDescriptor, policy: Policy, at: Location) -> None:
        if policy.idempotency is not None and (method.client_streaming or method.server_streaming):
            self._errors.add(
                at,
                f"method {method.full_name} is streaming and cannot have an idempotency key: there is no one request "
                "and reply to keep; give the idempotency policy to the unary methods only",
            )

    def _constant(self, method: MethodDescriptor) -> str:
        """Name a method's specification after it; after its service too, where the file has another of that name."""
        constant = constant_name(method.name)
        if self._constants.count(constant) == 1:
            return constant
        return constant_name(method.containing_service.name, method.name)


def _idempotency_level(method: MethodDescriptor) -> str | None:
    level = method.GetOptions().idempotency_level
    return None if level == MethodOptions.IDEMPOTENCY_UNKNOWN else MethodOptions.IdempotencyLevel.Name(level)
