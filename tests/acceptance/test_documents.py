"""The tutorials of the documents, done word for word: only the folder and the ports are the test's own."""

import os
import re
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from carrick.cli.main import _cli
from carrick.options import HandlingOptions, MethodPolicy, Part
from tests.acceptance.tutorial import PATIENCE, ROOT, followed, free_port, run, steps, wait_for


def test_the_tutorial_works_word_for_word(tmp_path: Path) -> None:
    """A newcomer who copies every block gets the printed output, and the greeter hears of it once."""
    folder = tmp_path / "tutorial"
    own = {"/tmp/tutorial": str(folder), "4222": free_port(), "50051": free_port()}  # noqa: S108
    blocks = steps("README.md", own)
    assert run(blocks[0].text + "pwd", ROOT).endswith(f"{folder}\n")
    with followed(blocks[1:], folder, tmp_path) as logs:
        wait_for(logs[-1], "Ada wrote: It holds.")
        time.sleep(0.5)  # a second greeting would come now
        greetings = [line for line in logs[-1].read_text().splitlines() if "Ada wrote" in line]
    assert len(greetings) == 1
    assert re.search(r"\[[0-9a-f]{32}\]", greetings[0]), "the greeting has no correlation id"


def test_the_tutorial_names_the_mistake_that_it_suggests(tmp_path: Path) -> None:
    """A timeout of zero makes the generator fail with the line and what to write instead, and write nothing."""
    blocks = steps("README.md", {"/tmp/tutorial": str(tmp_path)})  # noqa: S108
    contract = next(step for step in blocks if step.language == "proto")
    path = tmp_path / contract.what
    path.parent.mkdir(parents=True)
    path.write_text(contract.text.replace('timeout: "2s"', 'timeout: "0s"'))
    generate = next(step.text for step in blocks if "grpc_tools" in step.text)
    failed = subprocess.run(
        ["bash", "-c", generate.replace("--python_out=. --pyi_out=. ", "")],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert failed.returncode != 0
    assert re.search(r"guestbook\.proto:\d+:\d+: .*timeout", failed.stderr), failed.stderr
    assert not list(tmp_path.rglob("*_carrick.py"))


def test_the_guide_to_calls_works_word_for_word(tmp_path: Path) -> None:
    """Its service, clients, and test with a fake print what the guide says."""
    folder = tmp_path / "calls"
    blocks = steps("docs/calls.md", {"/tmp/calls": str(folder), "50052": free_port()})  # noqa: S108
    assert run(blocks[0].text + "pwd", ROOT).endswith(f"{folder}\n")
    with followed(blocks[1:], folder, tmp_path):
        pass


def test_the_guide_to_plain_events_and_requests_works_word_for_word(tmp_path: Path) -> None:
    """A screen hears of a price and is asked for it; what nobody answers is told."""
    folder = tmp_path / "prices"
    blocks = steps("docs/at-most-once.md", {"/tmp/prices": str(folder), "4227": free_port()})  # noqa: S108
    assert run(blocks[0].text + "pwd", ROOT).endswith(f"{folder}\n")
    with followed(blocks[1:], folder, tmp_path):
        pass


def test_the_example_of_an_adapter_passes_the_suite(tmp_path: Path) -> None:
    """What the page on databases makes is held to all that a database must satisfy, and is typed as it should be."""
    folder = tmp_path / "adapter"
    blocks = steps("docs/databases.md", {"/tmp/adapter": str(folder)})  # noqa: S108
    assert run(blocks[0].text + "pwd", ROOT).endswith(f"{folder}\n")
    with followed(blocks[1:], folder, tmp_path):
        run(f"mypy --strict --config-file {ROOT}/pyproject.toml plain_sqlite.py test_plain_sqlite.py", folder)


@pytest.mark.parametrize("document", ["docs/operating-consumers.md", "docs/operating-the-outbox.md"])
def test_the_guides_to_operation_name_what_there_is(document: str) -> None:
    """Each command in their blocks is there, and has the options that it is shown with."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / document).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    shown = [line.removeprefix("$ ").split() for block in blocks for line in block.splitlines() if "carrick " in line]
    commands = [words[1:] for words in shown if words[0] == "carrick"]
    assert commands
    for words in commands:
        group: Any = typer.main.get_command(_cli)
        while (names := getattr(group, "commands", None)) and words[0] in names:
            group = names[words.pop(0)]
        assert not hasattr(group, "commands"), words
        there = {option for parameter in group.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", " ".join(words))) <= there, words


_AROUND_THE_EXAMPLE = """
syntax = "proto3";
package orders.v1;
import "carrick/v1/options.proto";
message GetOrderRequest { string order_id = 1; }
message GetOrderResponse { string order_id = 1; }
message ExportOrdersRequest {}
message Order {}
"""


def test_the_examples_of_the_reference_of_policies_work(tmp_path: Path) -> None:
    """Its contract generates, and its clients are made with the policies given in code."""
    text = (ROOT / "docs/policies.md").read_text("utf-8")
    (contract,) = re.findall(r"^```proto\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    clients, fallback, *_ = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    path = tmp_path / "proto" / "orders" / "v1" / "orders.proto"
    path.parent.mkdir(parents=True)
    path.write_text(_AROUND_THE_EXAMPLE + contract)
    imports = "from carrick import CarrickError\nfrom orders.v1.orders_pb2 import GetOrderRequest\n"
    (tmp_path / "example.py").write_text(clients + imports + fallback)
    run("carrick generate && python example.py", tmp_path)


def test_the_reference_of_policies_lists_every_option() -> None:
    """Each part's options are in its tables, in the runtime's order, and no others."""
    rows = re.findall(r"^\| (?:`(\w+)`)? ?\| `(\w+)` \|", (ROOT / "docs/policies.md").read_text("utf-8"), re.MULTILINE)
    documented: dict[str, list[str]] = {}
    for part, option in rows:
        documented.setdefault(part, []).append(option)
    expected: dict[str, list[str]] = {"": []}
    for name, hint in get_type_hints(MethodPolicy).items():
        options = [each for each in get_args(hint) if isinstance(each, type) and issubclass(each, Part)]
        if options:
            expected[name] = [field.name for field in fields(options[0]) if field.name != "enabled"]
        elif name != "priority":
            expected[""].append(name)
    expected["handling"] = [field.name for field in fields(HandlingOptions)]
    assert documented == expected
