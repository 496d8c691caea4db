"""YAML files of users, read with a sentence for whatever is wrong with them."""

from pathlib import Path
from typing import Any

from carrick.errors import ConfigurationError

__all__ = ["read_yaml"]


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a file holds. Raises ``ConfigurationError``."""
    try:
        import yaml  # only this command needs it, and an installation that only runs services does without
    except ModuleNotFoundError as error:
        raise ConfigurationError(f'reading {path} needs PyYAML; run: pip install "carrick[codegen]"') from error
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no file {path}; write one, or name another") from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} must be a text file in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path}{at}: this is no YAML: {error.problem}; mend it there") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is no YAML: {' '.join(str(error).split())}; mend it there") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigurationError(f"{path} must hold a mapping that begins with: version: v2")
    return found
