import os

import pytest
from pydantic_settings import SettingsConfigDict

from carrick import ConfigurationError
from carrick.settings import Seconds, ServiceSettings


class _Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIAL_", frozen=True)

    api_token: str = ""
    patience: Seconds = 2.0
    zones: tuple[str, ...] = ()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(("TRIAL_", "CARRICK_")):
            monkeypatch.delenv(name)


def _complaint() -> str:
    with pytest.raises(ConfigurationError) as caught:
        _Settings.load()
    message = str(caught.value)
    assert message.startswith("bad settings: ")
    assert "\n" not in message
    return message


def test_defaults_are_safe() -> None:
    """Without any variable it listens on loopback, on a free port."""
    settings = _Settings.load()

    assert (settings.host, settings.port, settings.patience) == ("127.0.0.1", 0, 2.0)


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field is read from the variable of its name behind the prefix, and has its type."""
    for name, value in {"PORT": "8080", "DATABASE": "/tmp/x.db", "PATIENCE": "0.5", "ZONES": '["a", "b"]'}.items():  # noqa: S108
        monkeypatch.setenv(f"TRIAL_{name}", value)

    settings = _Settings.load()

    assert (settings.port, settings.database, settings.patience) == (8080, "/tmp/x.db", 0.5)  # noqa: S108
    assert settings.zones == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PATIENCE", "0"),
        ("PATIENCE", "inf"),
        ("PATIENCE", "nan"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """One line says which variable is wrong."""
    monkeypatch.setenv(f"TRIAL_{name}", value)

    assert f"TRIAL_{name}" in _complaint()


def test_a_list_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pydantic-settings itself cannot read becomes the same one line."""
    monkeypatch.setenv("TRIAL_ZONES", "a,b")

    complaint = _complaint()

    assert '"zones"' in complaint
    assert "write lists and mappings as JSON" in complaint


def test_all_bad_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to start a process three times to learn of three mistakes."""
    monkeypatch.setenv("TRIAL_PORT", "eighty")
    monkeypatch.setenv("TRIAL_GRACE", "-1")
    monkeypatch.setenv("TRIAL_PROT", "80")

    complaint = _complaint()

    assert all(f"TRIAL_{name}" in complaint for name in ("PORT", "GRACE", "PROT"))


def test_an_unknown_variable_is_refused_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name is not ignored, and the right one is offered."""
    monkeypatch.setenv("TRIAL_DATABSE", "x.db")

    assert "TRIAL_DATABSE is no setting; did you mean TRIAL_DATABASE?" in _complaint()


def test_an_unknown_variable_like_no_other_lists_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is near, all names are told."""
    monkeypatch.setenv("TRIAL_ZZZZZZZZZZ", "1")

    assert "TRIAL_ZZZZZZZZZZ is no setting; there are TRIAL_API_TOKEN, " in _complaint()


def test_variables_of_others_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the prefix's own variables are read."""
    monkeypatch.setenv("TRIALS_PROT", "80")
    monkeypatch.setenv("PORT", "eighty")

    assert _Settings.load().port == 0


@pytest.mark.parametrize("name", ["PORT", "PATIENCE", "LOG_LEVEL", "ZONES", "API_TOKN", "GRACE", "DATABASE"])
def test_no_value_shows_in_the_message(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A secret put into the wrong variable does not end up in a log."""
    monkeypatch.setenv(f"TRIAL_{name}", "mysql://hunter2" if name == "DATABASE" else "hunter2")

    assert "hunter2" not in _complaint()


def test_urls_are_not_shown() -> None:
    """Settings can be logged: what may hold credentials is left out."""
    settings = _Settings(nats_url="nats://user:hunter2@host", database="postgresql://user:hunter2@host/orders")

    assert "hunter2" not in repr(settings) + str(settings)


@pytest.mark.parametrize("url", ["mysql://me:hunter2@db/orders", "postgresql+asyncpg://me:hunter2@db/orders", ""])
def test_a_database_that_is_none_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """With the forms that there are, and without what may be a password."""
    monkeypatch.setenv("TRIAL_DATABASE", url)

    complaint = _complaint()

    assert "TRIAL_DATABASE: Value error, give the database as sqlite:///orders.db" in complaint
    assert "hunter2" not in complaint


def test_a_variable_of_commands_does_not_keep_a_service_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """`carrick outbox` reads it, and a shell may have it for good."""
    monkeypatch.setenv("CARRICK_DATABASE_URL", "sqlite:orders.db")
    ServiceSettings.load()
