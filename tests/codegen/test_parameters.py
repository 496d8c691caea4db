"""The plugin's parameters."""

from pathlib import Path

import pytest

from carrick_codegen._parameters import Parameters, parse
from carrick_codegen.plugin import generate
from tests.codegen.compiling import compile_files


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", Parameters()),
        ("allow_carrick=true", Parameters(allow_carrick=True)),
        ("allow_carrick=false", Parameters()),
        (" allow_carrick=true ,", Parameters(allow_carrick=True)),
        ("relative_imports=true,allow_carrick=true", Parameters(allow_carrick=True, relative_imports=True)),
    ],
)
def test_known_parameters(text: str, parameters: Parameters) -> None:
    """Parameters are name=value with commas between; without any, nothing is allowed and imports are absolute."""
    assert parse(text) == parameters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "paths=source_relative",
            'unknown parameter "paths"; known are: allow_carrick=true|false, relative_imports=true|false',
        ),
        (
            "allow_carrick=true,typo",
            'unknown parameter "typo"; known are: allow_carrick=true|false, relative_imports=true|false',
        ),
        ("allow_carrick", 'parameter "allow_carrick" must be allow_carrick=true or allow_carrick=false'),
        ("allow_carrick=1", 'parameter "allow_carrick=1" must be allow_carrick=true or allow_carrick=false'),
    ],
)
def test_wrong_parameters(text: str, message: str, tmp_path: Path) -> None:
    """An unknown parameter or value is an error that says what is known, and nothing is generated."""
    body = "service S { rpc Get(M) returns (M); } message M {}"
    response = generate(compile_files(tmp_path, parameter=text, orders=body))
    assert (response.error, len(response.file)) == (message, 0)
