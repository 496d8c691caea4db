"""What a template says, and the sentence for what is wrong with one."""

from pathlib import Path
from typing import Any

import pytest

from carrick.cli.generate.template import choose_template, parse
from carrick.errors import ConfigurationError

FILE = Path("buf.gen.yaml")
PLUGIN = {"local": "protoc-gen-carrick", "out": "gen"}


def _template(**given: Any) -> dict[str, Any]:
    return {"version": "v2", "plugins": [PLUGIN], **given}


def test_inputs_and_plugins_are_read() -> None:
    """Texts may stand alone or in lists; the outputs are listed once each."""
    template = parse(
        _template(
            inputs=[{"directory": "proto", "paths": ["proto/shop"], "exclude_paths": ["proto/shop/old"]}],
            plugins=[
                {"protoc_builtin": "pyi", "out": "gen"},
                {"local": ["python", "plugin.py"], "out": "gen", "opt": ["a=1", "b"], "strategy": "all"},
                {"remote": "buf.build/acme/x:v1", "out": "other", "opt": "c"},
            ],
        ),
        FILE,
    )
    (given,) = template.inputs
    builtin, local, remote = template.plugins
    assert (given.directory, given.paths, given.exclude_paths) == ("proto", ("proto/shop",), ("proto/shop/old",))
    assert (builtin.name, builtin.each_folder, builtin.options) == ("pyi", True, ())
    assert (local.name, local.each_folder, local.options) == ("python plugin.py", False, ("a=1", "b"))
    assert (remote.name, remote.local, remote.options) == ("buf.build/acme/x:v1", (), ("c",))
    assert template.outs == ("gen", "other")


def test_without_inputs_it_is_this_folder() -> None:
    """As with buf."""
    assert [each.directory for each in parse(_template(), FILE).inputs] == ["."]


@pytest.mark.parametrize(
    ("plugin", "asked"),
    [
        ({"local": "protoc-gen-carrick", "opt": "a=b, relative_imports=true"}, True),
        ({"local": "protoc-gen-carrick", "opt": ["relative_imports=true"]}, True),
        ({"local": "protoc-gen-carrick", "opt": "relative_imports=false"}, False),
        ({"local": "protoc-gen-other", "opt": "relative_imports=true"}, False),
    ],
)
def test_the_plugins_own_option_asks_for_relative_imports(plugin: dict[str, Any], asked: bool) -> None:
    """What is asked of the framework's plugin holds for the message modules too."""
    assert parse(_template(plugins=[{"out": "gen", **plugin}]), FILE).plugins[0].asks_for_relative_imports is asked


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"version": "v1"}, "buf.gen.yaml must begin with version: v2, not 'v1'; run: buf config migrate"),
        ({"plugins": []}, "buf.gen.yaml has no plugins; add for example - local: protoc-gen-carrick, with out: gen"),
        ({"plugins": "x"}, "buf.gen.yaml: plugins must be a list of mappings, not 'x'"),
        ({"inputs": ["proto"]}, r"buf.gen.yaml: inputs must be a list of mappings, not \['proto'\]"),
        ({"inputs": [{"directory": 1}]}, r"inputs\[0\]: directory must be a folder, for example proto, not 1"),
        ({"inputs": [{"directory": "a", "paths": [1]}]}, r"inputs\[0\]: paths must be a text or a list of texts"),
        ({"plugins": [{"local": "x"}]}, r"plugins\[0\] has no out; name the folder"),
        ({"plugins": [{"out": "x"}]}, r"plugins\[0\] must have one of local, protoc_builtin and remote"),
        ({"plugins": [PLUGIN | {"protoc_builtin": "pyi"}]}, "must have one of local, protoc_builtin and remote"),
        ({"plugins": [{"protoc_builtin": 1, "out": "x"}]}, "protoc_builtin must be a name, for example python"),
        ({"plugins": [PLUGIN | {"protoc_path": 1}]}, r"plugins\[0\]: protoc_path must be a text or a list of texts"),
        ({"plugins": [PLUGIN | {"strategy": "some"}]}, r"plugins\[0\]: strategy must be directory or all, not 'some'"),
    ],
)
def test_what_is_wrong_is_one_sentence(given: dict[str, Any], complaint: str) -> None:
    """The place, what is there, and what to write instead."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        parse(_template(**given), FILE)
    assert "\n" not in str(caught.value)


def test_what_stands_in_for_a_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without buf.gen.yaml: proto/ into this folder, or what the options say, with python, pyi and carrick."""
    monkeypatch.chdir(tmp_path)
    template = choose_template(None, None, None)
    assert [each.directory for each in template.inputs] == ["proto"]
    assert [plugin.name for plugin in template.plugins] == ["python", "pyi", "protoc-gen-carrick"]
    assert template.outs == (".",)
    other = choose_template(None, "api", "gen")
    assert ([each.directory for each in other.inputs], other.outs) == (["api"], ("gen",))


def test_a_template_leaves_no_room_for_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--proto and --out beside a template are refused rather than ignored."""
    monkeypatch.chdir(tmp_path)
    FILE.write_text("version: v2\nplugins: [{local: x, out: gen}]\n")
    assert choose_template(None, None, None).outs == ("gen",)
    with pytest.raises(ConfigurationError, match=r"buf\.gen\.yaml says what to generate and where; take --proto"):
        choose_template(None, None, "gen")
