"""Names in contracts and the Python names that they become."""

import pytest

from carrick_codegen.names import (
    best_reference,
    camel_case,
    constant_name,
    importable,
    member_name,
    module_name,
    output_path,
)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("PlaceOrder", "place_order"),
        ("GetHTTPStatus", "get_http_status"),
        ("GetV2Status", "get_v2_status"),
        ("place_order", "place_order"),
        ("HTTP", "http"),
        ("Import", "import_"),
        ("Routes", "routes_"),
        ("Float", "float_"),
        ("__init__", "x__init__"),
        ("_", "x_"),
        ("_1", "x_1"),
        ("match", "match"),
        ("Deprecated", "deprecated_"),
    ],
)
def test_member_names(name: str, member: str) -> None:
    """Methods are snake case, with an underscore behind what Python or the class itself needs."""
    assert member_name(name) == member


@pytest.mark.parametrize(
    ("names", "constant"),
    [
        (("PlaceOrder",), "PLACE_ORDER"),
        (("Outer", "Inner"), "OUTER_INNER"),
        (("ABC",), "ABC_"),
        (("GetHTTPStatus",), "GET_HTTP_STATUS"),
        (("Import",), "IMPORT"),
        (("_1",), "X_1"),
        (("Events",), "EVENTS_"),
    ],
)
def test_constant_names(names: tuple[str, ...], constant: str) -> None:
    """Specifications are constants that hide none of the names that generated code imports."""
    assert constant_name(*names) == constant


@pytest.mark.parametrize(
    ("text", "name"),
    [("orders", "Orders"), ("order-lines", "OrderLines"), ("a_b.c", "ABC"), ("2fa", "X2fa"), ("_", "")],
)
def test_camel_case(text: str, name: str) -> None:
    """A file's name becomes the name of a class."""
    assert camel_case(text) == name


@pytest.mark.parametrize(
    ("path", "module", "output"),
    [
        ("shop/orders/v1/orders.proto", "shop.orders.v1.orders_pb2", "shop/orders/v1/orders_carrick.py"),
        ("my-shop/order-lines.proto", "my_shop.order_lines_pb2", "my_shop/order_lines_carrick.py"),
        ("orders.proto", "orders_pb2", "orders_carrick.py"),
        ("a.b/c.d.proto", "a.b.c.d_pb2", "a/b/c/d_carrick.py"),
        ("old.protodevel", "old_pb2", "old_carrick.py"),
        ("orders.txt", "orders.txt_pb2", "orders/txt_carrick.py"),
    ],
)
def test_modules_follow_protoc(path: str, module: str, output: str) -> None:
    """The messages' module is named as protoc names it, and the generated file lies beside it."""
    assert (module_name(path), output_path(path)) == (module, output)


@pytest.mark.parametrize(
    ("module", "answer"),
    [
        ("shop.orders_pb2", True),
        ("shop.import.orders_pb2", False),
        ("shop.2fa.login_pb2", False),
        ("...v1.a_pb2", True),
        ("\ufb01_pb2", False),
    ],
)
def test_importable(module: str, answer: bool) -> None:
    """A keyword or a leading digit in a path cannot stand in an import statement."""
    assert importable(module) is answer


@pytest.mark.parametrize(
    ("module", "own", "reference"),
    [
        ("acme.v1.a_pb2", "acme.v1.b_pb2", "acme.v1.a_pb2"),
        ("acme.in.a_pb2", "acme.in.b_pb2", ".a_pb2"),
        ("in.v1.a_pb2", "in.v2.b_pb2", "..v1.a_pb2"),
        ("in.v1.a_pb2", "acme.v1.b_pb2", "in.v1.a_pb2"),
        ("acme.in.a_pb2", "acme.v1.b_pb2", "acme.in.a_pb2"),
        ("2fa_pb2", "b_pb2", "2fa_pb2"),
    ],
)
def test_references(module: str, own: str, reference: str) -> None:
    """A relative name stands where an absolute one cannot, and only there."""
    assert best_reference(module, own) == reference
