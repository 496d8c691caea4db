"""The list of what was generated."""

from pathlib import Path

import pytest

from carrick.cli.generate.manifest import checksum, format_manifest, manifest_file, parse_manifest
from carrick.cli.generate.template import parse
from carrick.errors import ConfigurationError

FILE = Path("conf/buf.gen.sum")


def test_it_is_beside_the_template() -> None:
    """Two templates have two lists."""
    given = {"version": "v2", "plugins": [{"local": "x", "out": "gen"}]}
    assert manifest_file(parse(given, Path("conf/buf.gen.web.yaml"))) == Path("conf/buf.gen.web.sum")


def test_it_is_read_as_it_was_written() -> None:
    """Sorted by path, in the form of sha256sum, relative to where it is."""
    checksums = {Path("gen/b c.py"): checksum(b"b"), Path("conf/a.py"): checksum(b"a")}
    content = format_manifest(checksums, FILE)
    assert [line[64:] for line in content.decode().splitlines()] == ["  ../gen/b c.py", "  a.py"]
    assert parse_manifest(content.decode(), FILE) == checksums
    assert parse_manifest("", FILE) == {}


def test_a_path_may_hold_any_sign_of_a_name() -> None:
    """What ends a line elsewhere in Unicode does not here, and git may write lines with a carriage return."""
    checksums = {Path("conf/a\u2028b\x0cc.py"): checksum(b"a"), Path("conf/d.py"): checksum(b"d")}
    text = format_manifest(checksums, FILE).decode()
    assert parse_manifest(text, FILE) == parse_manifest(text.replace("\n", "\r\n"), FILE) == checksums


@pytest.mark.parametrize("line", ["<<<<<<< HEAD", "gen/a.py", f"{'0' * 64} gen/a.py", f"{'0' * 64}  gen/a\0.py"])
def test_another_file_is_refused(line: str) -> None:
    """A merge's conflict is told, with what to do."""
    with pytest.raises(ConfigurationError, match=r"buf.gen.sum:1 is no line .*; delete .* and generate again"):
        parse_manifest(f"{line}\n", FILE)
