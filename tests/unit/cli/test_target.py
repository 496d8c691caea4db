"""Finding an app by its name, and saying what was not found."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carrick.app import App
from carrick.cli.target import load_app
from carrick.errors import ConfigurationError
from carrick.ids import random_id

Write = Callable[[str, str], str]

GOOD = "from carrick.app import App\n\ndef app() -> App:\n    return App('found')\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module of a package of its own into a folder of the path; returns the package's name."""
    package = f"p{random_id()[:12]}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))

    def into(module: str, source: str) -> str:
        (tmp_path / package / f"{module}.py").write_text(source)
        return package

    yield into
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def test_a_package_is_its_app_module(write: Write) -> None:
    """``services.orders`` means ``services.orders.app:app``."""
    app = load_app(write("app", GOOD))
    assert isinstance(app, App)
    assert app.name == "found"


def test_a_function_may_be_named(write: Write) -> None:
    """``package.module:function`` is taken as it is."""
    package = write("other", GOOD.replace("def app", "def make"))
    assert load_app(f"{package}.other:make").name == "found"


@pytest.mark.parametrize(
    "name", ["missing", "missing.deeper", "services/orders", "bad name", "a-b", "", ".", "./x", "..a", ":"]
)
def test_a_missing_module_is_named(name: str) -> None:
    """Whatever is typed, the answer is what was looked for and where to run the command."""
    with pytest.raises(ConfigurationError, match=r"there is no module .*; run the command in the folder that holds it"):
        load_app(name)


def test_a_package_without_app_module_is_told(write: Write) -> None:
    """The package is there, its app module is not."""
    package = write("other", GOOD)
    with pytest.raises(ConfigurationError, match=rf"there is no module {package}\.app"):
        load_app(package)


def test_a_module_that_is_no_package_is_told(write: Write) -> None:
    """A module can't hold an app module."""
    package = write("other", GOOD)
    with pytest.raises(ConfigurationError, match=rf"there is no module {package}\.other\.app"):
        load_app(f"{package}.other")


def test_a_missing_function_is_named(write: Write) -> None:
    """The module is there, the function is not, or is no function."""
    package = write("app", GOOD)
    with pytest.raises(ConfigurationError, match=rf"{package}\.app has no function make\(\)"):
        load_app(f"{package}.app:make")
    with pytest.raises(ConfigurationError, match=r"has no function \(\)"):
        load_app(f"{package}.app:")


def test_what_is_no_app_is_told(write: Write) -> None:
    """The function must return an app."""
    package = write("app", "def app() -> str:\n    return 'no app'\n")
    with pytest.raises(ConfigurationError, match=r"\.app:app\(\) must return a carrick\.app\.App, not 'no app'"):
        load_app(package)


def test_a_mistake_inside_the_module_is_not_hidden(write: Write) -> None:
    """A module that can't be imported for want of another one is the user's own error, with its traceback."""
    package = write("app", "import a_module_that_is_missing\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing"):
        load_app(package)


@pytest.mark.parametrize(
    ("missing", "extra"), [("nats", "nats"), ("sqlalchemy", "sqlite"), ("opentelemetry.sdk", "telemetry")]
)
def test_an_extra_that_was_left_out_is_named(missing: str, extra: str, write: Write) -> None:
    """What to install, and no traceback, when a module is missing that comes with an extra."""
    package = write("app", f"raise ModuleNotFoundError('No module named {missing}', name={missing!r})\n")
    said = re.escape(f'{package}.app needs {missing}, which is not installed; run: pip install "carrick[{extra}]"')
    with pytest.raises(ConfigurationError, match=said):
        load_app(package)
