"""Python literals."""

import ast

from hypothesis import given
from hypothesis import strategies as st

from carrick_codegen._literals import string


@given(st.text(st.one_of(st.sampled_from("'\"\\\n\tnN{"), st.characters(exclude_categories=["Cs"]))))
def test_any_text_is_a_literal(text: str) -> None:
    """A literal stands for its text, on one line, with no malformed escape."""
    assert "\n" not in string(text)
    assert ast.literal_eval(string(text)) == text


def test_quotes_are_those_of_formatters() -> None:
    """Double quotes, unless single ones need fewer backslashes."""
    texts = ["plain", "it's", 'say "no"', '"it\'s"', "'\""]
    assert [string(text) for text in texts] == ['"plain"', '"it\'s"', "'say \"no\"'", "'\"it\\'s\"'", '"\'\\""']
