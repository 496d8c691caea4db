"""Choosing a compiler, and running it."""

import sys

import pytest

from carrick.cli.generate import tools
from carrick.cli.generate.tools import Compiler, ContractError, choose_compiler, run_compiler
from carrick.errors import ConfigurationError


@pytest.mark.parametrize(
    ("wanted", "buf", "grpc_tools", "chosen"),
    [
        (None, True, True, Compiler.BUF),
        (None, True, False, Compiler.BUF),
        (None, False, True, Compiler.PROTOC),
        (Compiler.PROTOC, True, True, Compiler.PROTOC),
        (Compiler.BUF, True, True, Compiler.BUF),
        (None, False, False, "there is neither buf nor grpc_tools.protoc here; run: pip install"),
        (Compiler.BUF, False, True, "there is no buf here; run: pip install buf-bin, or say --with protoc"),
        (Compiler.PROTOC, True, False, "there is no grpc_tools.protoc here; run: pip install"),
    ],
)
def test_buf_where_it_is_and_else_protoc(
    wanted: Compiler | None, buf: bool, grpc_tools: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for is taken or missed; nothing else takes its place."""
    monkeypatch.setattr(tools, "find_program", lambda _: "/bin/buf" if buf else None)
    monkeypatch.setattr(tools, "has_grpc_tools", lambda: grpc_tools)
    if isinstance(chosen, Compiler):
        assert choose_compiler(wanted) is chosen
    else:
        with pytest.raises(ConfigurationError, match=chosen):
            choose_compiler(wanted)


def test_a_failure_is_told_in_the_compilers_words() -> None:
    """Whatever it writes, and where it writes nothing, its status."""
    with pytest.raises(ContractError) as caught:
        run_compiler(["sh", "-c", "echo two; echo one >&2; exit 3"])
    assert caught.value.message == "one\ntwo"
    with pytest.raises(ContractError, match="sh ended with status 3 and said nothing"):
        run_compiler(["sh", "-c", "exit 3"])
    assert run_compiler(["sh", "-c", "echo warning >&2"]) == "warning"


def test_what_a_compiler_says_need_not_be_text() -> None:
    """A plugin may print anything: what is text of it is shown."""
    say = "import sys; sys.stderr.buffer.write(b'caf\\xe9'); sys.exit(3)"
    with pytest.raises(ContractError, match="caf\N{REPLACEMENT CHARACTER}"):
        run_compiler([sys.executable, "-c", say])
