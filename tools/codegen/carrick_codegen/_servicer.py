"""The servicer class of a service in a generated module."""

from carrick_codegen._comments import docstring
from carrick_codegen._layout import WIDTH, Group, tuple_lines
from carrick_codegen._message_names import MessageNames
from carrick_codegen.model import Method, Service

__all__ = ["servicer"]


def servicer(service: Service, messages: MessageNames) -> list[str]:
    """Return the abstract class that a service's handlers implement."""
    comment = service.comment or f"Answers the calls of ``{service.full_name}``."
    lines = [*Group(f"class {service.servicer}(", ["ABC"], "):").lines(), *docstring(comment, indent=4, width=WIDTH)]
    for method in service.methods:
        lines += ["", "    @abstractmethod", *_method(method, messages)]
    return [*lines, "", *_routes(service)]


def _method(method: Method, messages: MessageNames) -> list[str]:
    comment = method.comment or f"Answer ``{method.full_name}``."
    request, response = messages[method.request], messages[method.response]
    argument = f"requests: AsyncIterator[{request}]" if method.streams_requests else f"request: {request}"
    opening, result = ("def", f"AsyncIterator[{response}]") if method.streams_responses else ("async def", response)
    return [
        *Group(f"{opening} {method.python_name}(", ["self", argument, "ctx: Context"], f") -> {result}:").lines(4),
        *docstring(comment, indent=8, width=WIDTH),
    ]


def _routes(service: Service) -> list[str]:
    routes = [Group("MethodRoute(", [method.constant, f"self.{method.python_name}"]) for method in service.methods]
    return [
        "    def routes(self) -> tuple[MethodRoute[Any, Any], ...]:",
        '        """Pair each method with what handles it."""',
        *tuple_lines("return (", routes, 8),
    ]
