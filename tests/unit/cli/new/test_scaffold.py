"""The files of a new service."""

import tomllib
from pathlib import PurePosixPath

import pytest

from carrick.cli.new.name import Name
from carrick.cli.new.scaffold import scaffold

FILES = scaffold(Name("order-desk"))


def test_the_name_is_in_paths_and_texts() -> None:
    """No placeholder is left over, and no suffix of the templates."""
    assert {str(path) for path in FILES} >= {
        ".dockerignore",
        ".gitignore",
        "Dockerfile",
        "order_desk/migrations/postgresql/0001_entries.sql",
        "order_desk/migrations/sqlite/0001_entries.sql",
        "proto/order_desk/v1/order_desk.proto",
        "tests/test_order_desk.py",
    }
    for path, text in FILES.items():
        assert "{{" not in text
        assert "PACKAGE" not in f"{path}{text}"
        assert path.suffix != ".template"


def test_the_project_says_what_it_needs() -> None:
    """Its pyproject names the distribution, the package, and the framework with what a service uses of it."""
    project = tomllib.loads(FILES[PurePosixPath("pyproject.toml")])
    assert project["project"]["name"] == "order-desk"
    assert project["project"]["dependencies"] == ["carrick[nats,postgres,sqlite,telemetry]>=0.1.0"]
    extras = project["project"]["optional-dependencies"]
    assert "types-protobuf>=6" in extras["dev"]  # without it mypy takes any message for any other
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["order_desk"]


def test_the_image_is_sound() -> None:
    """A slim image, a user that is not root, a command that gets signals itself, nothing secret."""
    lines = FILES[PurePosixPath("Dockerfile")].splitlines()
    assert [line.split()[1] for line in lines if line.startswith("FROM")] == ["python:3.13-slim"] * 2
    assert "USER 10001" in lines
    assert 'CMD ["carrick", "run", "order_desk"]' in lines
    assert "CARRICK_HOST=0.0.0.0" in FILES[PurePosixPath("Dockerfile")]
    assert ".env*" in FILES[PurePosixPath(".dockerignore")].splitlines()


@pytest.mark.parametrize("path", sorted(FILES))
def test_lines_are_short_and_end(path: PurePosixPath) -> None:
    """As in code that somebody wrote."""
    text = FILES[path]
    assert not text or text.endswith("\n")
    assert max(map(len, [*text.splitlines(), ""])) <= 120
