"""The script for an administrator: what it says, and which names it takes. What it does is tested on a server."""

import re
from itertools import product
from typing import get_args

import pytest

from carrick.errors import ConfigurationError
from carrick.store.roles import Level, roles


@pytest.mark.parametrize(("level", "owner"), list(product(get_args(Level), (None, "orders_owner"))))
def test_a_script_has_no_password_and_says_who_needs_one(level: Level, owner: str | None) -> None:
    """Each role that can log in is named in the comments with psql's own way to give it a password."""
    script = roles("orders", level, owner=owner)
    assert "PASSWORD" not in script
    made = re.findall(r'^CREATE ROLE "(\w+)" LOGIN', script, re.MULTILINE)
    assert made == re.findall(r'^--     \\password "(\w+)"', script, re.MULTILINE)
    assert made == ["orders", *filter(None, [owner])]


@pytest.mark.parametrize("level", get_args(Level))
def test_one_transaction_holds_what_can_be_in_one(level: Level) -> None:
    """A script that fails in the middle leaves nothing behind, save where a database is made."""
    script = roles("orders", level)
    assert script.count("BEGIN;") == script.count("COMMIT;") == 1
    before = script.partition("BEGIN;")[0]
    assert ("CREATE" in before) == (level == "database")


@pytest.mark.parametrize("name", ["", "Orders", "o" * 64, "pg_orders", 'a"; DROP', "a\nb", "1st", "größe"])
def test_names_that_need_quotes_everywhere_are_refused(name: str) -> None:
    """What would be another name without its quotes, or would end the comment, is not written."""
    with pytest.raises(ConfigurationError, match="is no name for a role, schema or database here: write small letters"):
        roles(name, "schema")
    if name:
        with pytest.raises(ConfigurationError, match="is no name"):
            roles("orders", "schema", owner=name)


def test_what_makes_no_sense_is_refused() -> None:
    """An unknown level, an owner that is the service itself, a shared schema that is the service's."""
    with pytest.raises(ConfigurationError, match="level is one of tables, schema, database, not server"):
        roles("orders", "server")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="owner is another role than the service's own"):
        roles("orders", "schema", owner="orders")
    with pytest.raises(ConfigurationError, match="the shared schema can't be orders"):
        roles("orders", "tables", shared="orders")
