"""Imports between generated files, made relative."""

import pytest

from carrick.cli.generate.relative_imports import relative_imports

GENERATED = {"top_pb2", "a.m_pb2", "a.b.c_pb2", "a.b.d_pb2", "a.class.k_pb2", "x.y_pb2"}


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        ("a.b.c_pb2", "from a.b import d_pb2 as a_dot_b_dot_d__pb2", "from . import d_pb2 as a_dot_b_dot_d__pb2"),
        ("a.b.c_pb2", "from a import m_pb2 as a_dot_m__pb2", "from .. import m_pb2 as a_dot_m__pb2"),
        ("a.b.c_pb2", "from x import y_pb2 as _y_pb2", "from ...x import y_pb2 as _y_pb2"),
        ("a.m_pb2", "from a.b import c_pb2 as _c_pb2", "from .b import c_pb2 as _c_pb2"),
        ("a.m_pb2", "import top_pb2 as top__pb2", "from .. import top_pb2 as top__pb2"),
        ("top_pb2", "from a import m_pb2 as _m_pb2", "from .a import m_pb2 as _m_pb2"),
        ("a.b.c_pb2", "from a.b.d_pb2 import *", "from .d_pb2 import *"),
        ("a.b.c_pb2", "from top_pb2 import T as T", "from ...top_pb2 import T as T"),
        ("x.y_pb2", "from a.b.d_pb2 import Foo_pb2 as Foo_pb2", "from ..a.b.d_pb2 import Foo_pb2 as Foo_pb2"),
        (
            "a.m_pb2",
            "k__pb2 = importlib.import_module('a.class.k_pb2')",
            "k__pb2 = importlib.import_module('.class.k_pb2', __package__)",
        ),
    ],
)
def test_imports_of_generated_modules(module: str, before: str, after: str) -> None:
    """Every form that protoc writes, in modules and in stubs."""
    text = "# comment\n{}\nX = 1\n"
    assert relative_imports(text.format(before), module, GENERATED) == text.format(after)


@pytest.mark.parametrize(
    "line",
    [
        "import datetime",
        "import importlib",
        "from google.protobuf import timestamp_pb2 as google_dot_protobuf_dot_timestamp__pb2",
        "from carrick.v1 import options_pb2 as carrick_dot_v1_dot_options__pb2",
        "from collections.abc import Iterable as _Iterable, Mapping as _Mapping",
        "from google.rpc.status_pb2 import *",
        "import other_pb2 as other__pb2",
        "k__pb2 = importlib.import_module('z.class.k_pb2')",
        "DESCRIPTOR = x(b'from a.b import d_pb2 as y')",
    ],
)
def test_everything_else_stays(line: str) -> None:
    """Installed packages, and text that only looks like an import."""
    assert relative_imports(f"{line}\n", "a.b.c_pb2", GENERATED) == f"{line}\n"
