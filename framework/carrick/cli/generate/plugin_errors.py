"""What a plugin says of a contract, freed of what buf and protoc put around it."""

import os
import re
from collections.abc import Iterable

from carrick.cli.generate.sources import Sources

__all__ = ["plain_errors"]

_ERROR = re.compile(r"(?:(?:--[\w-]+_out|(?:Failure: )?plugin [^:]+): )?(?P<name>[^:]+\.proto)(?P<what>:\d+:\d+: .*)")
_OTHER_PLUGINS = re.compile(r"context canceled|(?:Failure: )?plugin [^:]+: (?:signal: killed|context canceled)")
"""What buf says of the plugins that it stops when one has failed."""


def plain_errors(message: str, inputs: Iterable[Sources]) -> str:
    """Return a compiler's words with a plugin's errors as ``path:line:column: what``, as the compiler's own are.

    A plugin knows a contract by the name that it is imported by; the path is the one from here.
    """
    paths = {source.name: os.path.relpath(source.path) for sources in inputs for source in sources.files}
    plain = []
    changed = False
    for line in message.splitlines():
        match = _ERROR.fullmatch(line)
        known = match is not None and match["name"] in paths
        changed = changed or known
        plain.append(paths[match["name"]] + match["what"] if match is not None and known else line)
    return "\n".join(line for line in plain if not (changed and _OTHER_PLUGINS.fullmatch(line)))
