"""What is printed on a terminal."""

from carrick.cli.terminal import dump, printable, table


def test_a_terminal_gets_nothing_to_obey() -> None:
    """Colours, bells and new lines are written out; letters of any language stay."""
    assert printable("né\x1b[31m\a\r\n") == r"né\x1b[31m\x07\r\n"


def test_bytes_are_text_or_digits() -> None:
    """Text stays as it is; one byte that is not makes all of it hexadecimal, sixteen bytes a line."""
    assert list(dump(b'{"a": 1}\n')) == ['{"a": 1}']
    assert list(dump(b"\x1b[31mred")) == ["1b 5b 33 31 6d 72 65 64"]
    assert list(dump(b"\xff" * 17)) == ["ff " * 15 + "ff", "ff"]
    assert list(dump(b"")) == []


def test_columns_are_below_each_other() -> None:
    """The last may be of any length."""
    assert list(table(("no", "why"), [("1", "a"), ("100", "b c")])) == ["no   why", "1    a", "100  b c"]
