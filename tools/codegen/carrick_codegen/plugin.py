"""The plugin's entry point: a compiler's request on stdin, the response on stdout."""

import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import Edition
from google.protobuf.message import DecodeError

from carrick_codegen import _parameters
from carrick_codegen._errors import ContractErrors, MalformedRequestError
from carrick_codegen._text import check_text
from carrick_codegen.reader import read
from carrick_codegen.render import render, render_fakes

__all__ = ["generate", "main"]


def main() -> None:
    """Answer one request. Bytes that are none end with one sentence on stderr and exit status 1."""
    if sys.stdin.isatty():
        sys.exit("protoc-gen-carrick is run by buf or protoc, which write a request to its stdin.")
    try:
        request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
        check_text(request)
        response = generate(request)
    except (DecodeError, MalformedRequestError) as error:
        reason = " ".join(str(error).split())
        sys.exit(f"protoc-gen-carrick: stdin holds no request of buf or protoc: {reason}.")
    sys.stdout.buffer.write(response.SerializeToString())


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Return the generated files, or, when anything is wrong with the contracts, all the errors and no file.

    Raises MalformedRequestError for a request that no compiler makes.
    """
    response = CodeGeneratorResponse(
        supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
        | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=Edition.EDITION_PROTO2,
        maximum_edition=Edition.EDITION_2024,
    )
    try:
        parameters = _parameters.parse(request.parameter)
    except ValueError as error:
        response.error = str(error)
        return response
    errors = ContractErrors()
    files = read(request, parameters, errors)
    if errors:
        response.error = str(errors)
        return response
    for file in files:
        response.file.add(name=file.output, content=render(file))
        if file.services:
            response.file.add(name=file.fakes_output, content=render_fakes(file))
    return response
