"""Random contracts, with names and comments as nobody should choose them: what is generated is Python that works.

`make torture-codegen` tries more of them. An example that fails is printed as the request's text, and as a line with
which Hypothesis makes it again.
"""

import re
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import example, given
from hypothesis import strategies as st

from carrick.v1 import options_pb2
from carrick_codegen.plugin import generate
from tests.codegen.fuzz.bindings import name_faults
from tests.codegen.fuzz.contracts import contracts, proto_of, request_for, small
from tests.codegen.fuzz.effort import bounded
from tests.codegen.real.corpus import Corpus
from tests.codegen.real.report import examine

ERROR = re.compile(r"[^\n]+\.proto:[1-9][0-9]*:[1-9][0-9]*: \S[^\n]*\S")

OPTIONS = Corpus("options", Path(), (), (), FileDescriptorSet(file=[proto_of(options_pb2.DESCRIPTOR)]))


def check(request: CodeGeneratorRequest, response: CodeGeneratorResponse) -> None:
    """See that a response is an error that tells a place, or files that are Python, the same each time."""
    assert not (response.file and response.error)
    for line in response.error.splitlines():
        assert ERROR.fullmatch(line), line
    for file in response.file:
        compile(file.content, file.name, "exec", dont_inherit=True)
        assert not name_faults(file.content), file.content
    again = CodeGeneratorRequest(file_to_generate=request.file_to_generate[::-1], proto_file=request.proto_file)
    assert generate(again) == response


@bounded(100)
@given(contracts(sensible=True))
@example(small(path="größe.proto"))
@example(small(message="routes"))
@example(small(method="__private"))
def test_contracts_without_errors_give_files(files: FileDescriptorSet) -> None:
    """Whatever things are called, contracts that a compiler accepts generate."""
    response = generate(request := request_for(files))
    assert not response.error
    check(request, response)


@bounded(100)
@given(contracts(sensible=False))
@example(small(timeout="2\n"))
@example(small(timeout="2\x85"))
def test_any_options_give_files_or_errors(files: FileDescriptorSet) -> None:
    """Whatever options hold, each error is one line that says where it is."""
    check(request := request_for(files), generate(request))


def test_what_is_generated_works(tmp_path: Path) -> None:
    """Beside protoc's modules it imports, has what the contracts say, answers calls, and is typed."""
    examples: list[FileDescriptorSet] = []

    @bounded(50)
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        examples.append(data.draw(contracts(sensible=True, root=f"example{len(examples)}")))

    collect()
    files = FileDescriptorSet(file=[file for example in examples for file in example.file])
    corpus = Corpus("examples", tmp_path, (), (), files)
    report = examine(corpus, OPTIONS, tmp_path, tmp_path / "mypy")
    assert not report.failures, "\n".join(report.failures)
    assert report.calls > 0
    assert report.events > 0
