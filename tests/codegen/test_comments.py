"""Proto comments as docstrings."""

import ast

from hypothesis import example, given
from hypothesis import strategies as st

from carrick_codegen._comments import cleaned, docstring


def _read_back(text: str, indent: int) -> str:
    lines = docstring(text, indent=indent, width=60)
    value = ast.literal_eval("\n".join(lines).strip())
    assert isinstance(value, str)
    return value


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.sampled_from([0, 4, 8]))
@example('ends with "', 4)
@example('"""', 4)
@example('""" and """"', 8)
@example("ends with \\", 4)
@example('\\"""\\', 0)
@example("nul \0 and bell \a", 0)
def test_any_comment_is_a_docstring_with_its_words(comment: str, indent: int) -> None:
    """Whatever a comment holds, its docstring parses and says the same words."""
    text = cleaned(comment)
    assert _read_back(text, indent).split() == text.split()


def test_paragraphs_are_wrapped_and_lists_are_not() -> None:
    """Prose is wrapped to the width; lists, tables and indented code keep their lines."""
    text = cleaned(f" {'word ' * 20}\n\n - {'item ' * 20}\n - two\n\n     code()\n")
    lines = docstring(text, indent=4, width=60)
    assert lines[0] == '    """word word word word word word word word word word'
    assert all(len(line) <= 60 for line in lines[:2])
    assert lines[3].startswith("    - item item")
    assert lines[4:] == ["    - two", "", "        code()", '    """']


def test_margins_and_directives_are_dropped() -> None:
    """The blank after the slashes, the star of the other style, and linter directives are not part of the text."""
    assert cleaned(" One.\n\n Two.\n buf:lint:ignore ENUM_VALUE_PREFIX\n") == "One.\n\nTwo."
    assert cleaned("*\n One.\n\n Two.\n") == "One.\n\nTwo."
    assert cleaned("* One.\r\n") == "One."


def test_short_text_stays_on_one_line() -> None:
    """One sentence that fits is a docstring of one line."""
    assert docstring("Places an order.", indent=4, width=60) == ['    """Places an order."""']


def test_text_that_fits_without_the_closing_quotes_only() -> None:
    """A line that the quotes behind it make too long is broken; a word is not."""
    assert docstring("word " * 10 + "end", indent=4, width=60)[1:] == ["    end", '    """']
    assert docstring("w" * 100, indent=4, width=60) == [f'    """{"w" * 100}"""']


def test_what_follows_an_indented_line_keeps_to_the_margin() -> None:
    """The least indented line after the first stands at the margin, as formatters put it."""
    text = "first:\n\n    code\n      more"
    assert docstring(text, indent=4, width=60) == ['    """first:', "", "    code", "      more", '    """']
