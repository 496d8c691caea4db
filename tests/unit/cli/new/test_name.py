"""What a service may be called."""

import pytest

from carrick.cli.new.name import check_name
from carrick.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "package", "service"),
    [
        ("greeter", "greeter", "Greeter"),
        ("order-desk", "order_desk", "OrderDesk"),
        ("order_desk", "order_desk", "OrderDesk"),
        ("desk-2b", "desk_2b", "Desk2b"),
        ("match", "match", "Match"),
    ],
)
def test_a_name_becomes_a_package_and_a_service(text: str, package: str, service: str) -> None:
    """Dashes become underscores in Python, and capitals in the contract."""
    name = check_name(text)
    assert (name.project, name.package, name.service) == (text, package, service)


@pytest.mark.parametrize(
    ("text", "fault", "instead"),
    [
        ("OrderDesk", "a name is of small letters, digits and single dashes", "order-desk"),
        ("order__desk", "a name is of small letters", "order-desk"),
        ("../desk", "a name is of small letters", "desk"),
        ("2nd desk!", "a name is of small letters", "nd-desk"),
        ("", "a name is of small letters", "greeter"),
        ("é", "a name is of small letters", "greeter"),
        ("x" * 41, "a name is of small letters", "x" * 20),
        ("class", "that is a word of Python's own", "class-service"),
        ("Class", "a name is of small letters", "class-service"),
        ("json", "its package would hide the module of that name in Python's library", "json-service"),
        ("carrick", "its package would hide the installed package of that name", "carrick-service"),
        ("grpc", "its package would hide the installed package of that name", "grpc-service"),
        ("tests", "its package would be in the place of another folder of the project", "tests-service"),
        ("entry-added", "a message of the example is called so", "entry-added-service"),
    ],
)
def test_what_cannot_be_a_name_says_what_to_write(text: str, fault: str, instead: str) -> None:
    """One sentence: the reason, and a name near to it that can be used."""
    with pytest.raises(ConfigurationError) as caught:
        check_name(text)
    assert str(caught.value).startswith(f'a service cannot be called "{text}": {fault}')
    assert str(caught.value).endswith(f"; write: carrick new {instead}")
    assert check_name(instead).project == instead
