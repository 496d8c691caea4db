"""The client class of a service in a generated module."""

from carrick_codegen._comments import docstring
from carrick_codegen._deprecation import deprecation
from carrick_codegen._layout import WIDTH, Group
from carrick_codegen._message_names import MessageNames
from carrick_codegen.model import Method, Service

__all__ = ["client"]

_BINDINGS = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


def client(service: Service, messages: MessageNames) -> list[str]:
    """Return the class through which a service is called."""
    comment = service.comment or f"Calls ``{service.full_name}``."
    lines = [
        *(deprecation(service.full_name) if service.deprecated else []),
        f"class {service.client}:",
        *docstring(comment, indent=4, width=WIDTH),
        "",
        "    def __init__(self, channel: Channel, *, policy: MethodPolicy | None = None) -> None:",
        '        """Bind the methods to a channel. Parts of ``policy`` take the place of the contract\'s."""',
    ]
    for method in service.methods:
        binding = _BINDINGS[method.streams_requests, method.streams_responses]
        lines += Group(f"self._{method.python_name} = channel.{binding}(", [method.constant, "policy"]).lines(8)
    for method in service.methods:
        lines += ["", *_method(method, messages)]
    return lines


def _method(method: Method, messages: MessageNames) -> list[str]:
    comment = method.comment or f"Call ``{method.full_name}``."
    keyed = method.policy.idempotency is not None
    request, response = messages[method.request], messages[method.response]
    argument, argument_type = (
        ("requests", f"AsyncIterable[{request}]") if method.streams_requests else ("request", request)
    )
    parameters = [
        "self",
        f"{argument}: {argument_type}",
        "*",
        "timeout: float | None = None",
        *(["key: str | None = None"] if keyed else []),
        "metadata: Metadata = ()",
    ]
    arguments = [argument, "timeout=timeout", *(["key=key"] if keyed else []), "metadata=metadata"]
    if method.streams_responses:
        opening, result, calling = "def", f"ResponseStream[{response}]", "return"
    else:
        opening, result, calling = "async def", response, "return await"
    return [
        *(deprecation(method.full_name, indent=4) if method.deprecated else []),
        *Group(f"{opening} {method.python_name}(", parameters, f") -> {result}:").lines(4, expanded=True),
        *docstring(comment, indent=8, width=WIDTH),
        *Group(f"{calling} self._{method.python_name}(", arguments).lines(8),
    ]
