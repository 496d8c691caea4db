"""``:name`` parameters as PostgreSQL takes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.store._parameters import numbered


@pytest.mark.parametrize(
    ("sql", "expected", "names"),
    [
        ("SELECT 1", "SELECT 1", ()),
        ("SELECT :a, :b_2, :a", "SELECT $1, $2, $1", ("a", "b_2")),
        ("SELECT :a::text, b::int", "SELECT $1::text, b::int", ("a",)),
        ("SELECT (:a)::text||:b", "SELECT ($1)::text||$2", ("a", "b")),
        ("SELECT a[1:n], a[1:2]", "SELECT a[1:n], a[1:2]", ()),
        ("SELECT ':a', ':a'':b', :c", "SELECT ':a', ':a'':b', $1", ("c",)),
        ('SELECT ":a", "x"":b", :c', 'SELECT ":a", "x"":b", $1', ("c",)),
        (r"SELECT E'\':a', e'\\', :b", r"SELECT E'\':a', e'\\', $1", ("b",)),
        (r"SELECT '\', :a, '", r"SELECT '\', $1, '", ("a",)),
        ("SELECT 1 -- :a 'x\n, :b", "SELECT 1 -- :a 'x\n, $1", ("b",)),
        ("SELECT /* :a /* ' */ :b */ :c", "SELECT /* :a /* ' */ :b */ $1", ("c",)),
        ("SELECT /* :a", "SELECT /* :a", ()),
        ("SELECT $$ :a ' $$, $x$ :a $$ $x$, :b", "SELECT $$ :a ' $$, $x$ :a $$ $x$, $1", ("b",)),
        ("SELECT a$b$ + :c, d$b$", "SELECT a$b$ + $1, d$b$", ("c",)),
        ("SELECT '{\"a\": 1}'::jsonb @> :a", "SELECT '{\"a\": 1}'::jsonb @> $1", ("a",)),
        ("SELECT :größe", "SELECT $1", ("größe",)),
        ("f(a := 1, b => :b)", "f(a := 1, b => $1)", ("b",)),
        ("SELECT now() - :1", "SELECT now() - :1", ()),
    ],
)
def test_parameters_are_found_where_they_are_meant(sql: str, expected: str, names: tuple[str, ...]) -> None:
    """Strings, quoted names, comments, casts and slices stay as they are; a name used twice has one number."""
    assert numbered(sql) == (expected, names)


_PLAIN = ("'x :a '' :b'", '":a"', "-- :a '\n", "/* :a /* ' */ */", "$$ :a $$", "$q$ ' :a $$ $q$", "::text", " ", "n")


@given(st.lists(st.sampled_from(_PLAIN), max_size=8))
def test_what_is_no_parameter_is_kept(pieces: list[str]) -> None:
    """In whatever order: nothing of it changes, and a parameter behind it is still found."""
    sql = " ".join(pieces)
    assert numbered(sql) == (sql, ())
    assert numbered(f"{sql} :a") == (f"{sql} $1", ("a",))


@given(st.text(alphabet=":'\"$-/*e\\ \nab1[]", max_size=40))
def test_any_text_is_taken(sql: str) -> None:
    """What makes no sense is for the server to say; outside of parameters nothing is changed."""
    text, names = numbered(sql)
    for number in range(len(names), 0, -1):
        text = text.replace(f"${number}", f":{names[number - 1]}")
    assert names or text == sql
