"""The client classes of a service in a generated module: asynchronous, and blocking."""

from dataclasses import dataclass

from carrick_codegen._comments import docstring
from carrick_codegen._deprecation import deprecation
from carrick_codegen._layout import WIDTH, Group, statement
from carrick_codegen._message_names import MessageNames
from carrick_codegen.model import Method, Service

__all__ = ["blocking_client", "client"]

_BINDINGS = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


@dataclass(frozen=True, slots=True)
class _Style:
    """What the two kinds of clients differ in."""

    channel: str
    requests: str
    responses: str
    coroutines: bool


_ASYNCHRONOUS = _Style("Channel", "AsyncIterable", "ResponseStream", coroutines=True)
_BLOCKING = _Style("BlockingChannel", "Iterable", "BlockingResponseStream", coroutines=False)


def client(service: Service, messages: MessageNames) -> list[str]:
    """Return the class through which a service is called."""
    return _client(service, service.client, messages, _ASYNCHRONOUS)


def blocking_client(service: Service, messages: MessageNames) -> list[str]:
    """Return the class through which a service is called where there is no event loop."""
    return _client(service, service.blocking_client, messages, _BLOCKING)


def _client(service: Service, name: str, messages: MessageNames, style: _Style) -> list[str]:
    comment = service.comment or f"Calls ``{service.full_name}``."
    if not style.coroutines:
        comment += "\n\nIts calls wait for their answer, in any thread without an event loop."
    lines = [
        *(deprecation(service.full_name) if service.deprecated else []),
        f"class {name}:",
        *docstring(comment, indent=4, width=WIDTH),
        "",
        f"    def __init__(self, channel: {style.channel}, *, policy: PolicyOverride | None = None) -> None:",
        '        """Bind the methods to a channel. Parts of ``policy`` take the place of the contract\'s."""',
    ]
    for method in service.methods:
        binding = _BINDINGS[method.streams_requests, method.streams_responses]
        bound = Group(f"channel.{binding}(", [method.constant, "policy"])
        lines += statement(f"self._{method.python_name} =", bound, 8)
    for method in service.methods:
        lines += ["", *_method(method, messages, style)]
    return lines


def _method(method: Method, messages: MessageNames, style: _Style) -> list[str]:
    comment = method.comment or f"Call ``{method.full_name}``."
    request, response = messages[method.request], messages[method.response]
    argument, argument_type = (
        ("requests", f"{style.requests}[{request}]") if method.streams_requests else ("request", request)
    )
    parameters = [
        "self",
        f"{argument}: {argument_type}",
        "*",
        "timeout: float | None = None",
        *(["key: str | None = None"] if method.keyed else []),
        "metadata: Metadata = ()",
    ]
    arguments = [argument, "timeout=timeout", *(["key=key"] if method.keyed else []), "metadata=metadata"]
    awaited = style.coroutines and not method.streams_responses
    opening, calling = ("async def", "return await") if awaited else ("def", "return")
    result = f"{style.responses}[{response}]" if method.streams_responses else response
    return [
        *(deprecation(method.full_name, indent=4) if method.deprecated else []),
        *Group(f"{opening} {method.python_name}(", parameters, f") -> {result}:").lines(4, expanded=True),
        *docstring(comment, indent=8, width=WIDTH),
        *statement(calling, Group(f"self._{method.python_name}(", arguments), 8),
    ]
