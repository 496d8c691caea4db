"""YAML files as users have them."""

import sys
from pathlib import Path

import pytest

from carrick.cli.generate.yaml_file import read_yaml
from carrick.errors import ConfigurationError


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"version: [v2", r"x.yaml:1:13: this is no YAML: expected ',' or '\]'.*; mend it there"),
        (b"a: \x00", "x.yaml is no YAML: .*; mend it there"),
        (b"- v2", "x.yaml must hold a mapping that begins with: version: v2"),
        (b"", "x.yaml must hold a mapping that begins with: version: v2"),
        (b"1: 2", "x.yaml must hold a mapping that begins with: version: v2"),
        (b"\xff\xfe", "x.yaml must be a text file in UTF-8"),
        (b"!!python/object:os.system x", "x.yaml:1:1: this is no YAML: could not determine a constructor"),
    ],
)
def test_what_is_no_mapping_is_one_sentence(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Where it is wrong, and that it should be mended there; and no tag makes objects."""
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        read_yaml(file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    """Both say what to do."""
    with pytest.raises(ConfigurationError, match=r"there is no file none\.yaml; write one, or name another"):
        read_yaml(Path("none.yaml"))
    with pytest.raises(ConfigurationError, match="must be a text file in UTF-8"):
        read_yaml(tmp_path)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML comes with the extra codegen only."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigurationError, match=r'needs PyYAML; run: pip install "carrick\[codegen\]"'):
        read_yaml(tmp_path / "x.yaml")
