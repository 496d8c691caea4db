"""The plugin's parameters."""

from pathlib import Path

import pytest

from carrick_codegen._parameters import Parameters, parse
from carrick_codegen.plugin import generate
from tests.codegen.compiling import compile_files


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("", False), ("allow_carrick=true", True), ("allow_carrick=false", False), (" allow_carrick=true ,", True)],
)
def test_known_parameters(text: str, allowed: bool) -> None:
    """Parameters are name=value with commas between; without any, nothing is allowed."""
    assert parse(text) == Parameters(allow_carrick=allowed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paths=source_relative", 'unknown parameter "paths"; known are: allow_carrick=true|false'),
        ("allow_carrick=true,typo", 'unknown parameter "typo"; known are: allow_carrick=true|false'),
        ("allow_carrick", 'parameter "allow_carrick" must be allow_carrick=true or allow_carrick=false'),
        ("allow_carrick=1", 'parameter "allow_carrick=1" must be allow_carrick=true or allow_carrick=false'),
    ],
)
def test_wrong_parameters(text: str, message: str, tmp_path: Path) -> None:
    """An unknown parameter or value is an error that says what is known, and nothing is generated."""
    body = "service S { rpc Get(M) returns (M); } message M {}"
    response = generate(compile_files(tmp_path, parameter=text, orders=body))
    assert (response.error, len(response.file)) == (message, 0)
