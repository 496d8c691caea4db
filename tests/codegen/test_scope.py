"""The names of one scope."""

from carrick_codegen._scope import Scope, Wanted


def test_names_are_given_once() -> None:
    """A name that is taken gets underscores behind it, after all that was wished for."""
    scope = Scope({"a"})
    assert [scope.name("a", "b"), scope.name("a", "b"), scope.name("a", "b")] == ["b", "b_", "b__"]


def test_the_declared_name_comes_before_the_first() -> None:
    """What is declared under a name has it, wherever it stands; then the order decides."""
    wanted = [Wanted(name, ("get_a", name)) for name in ("GetA", "getA", "get_a")]
    assert Scope(()).names(wanted) == ["GetA", "getA", "get_a"]
    assert Scope(()).names(wanted[:2]) == ["get_a", "getA"]


def test_additions_elsewhere_change_no_name() -> None:
    """A name depends on what stands before it, and on who is declared under it."""
    wanted = [Wanted(name, ("get_a", name)) for name in ("GetA", "getA")]
    assert Scope(()).names([*wanted, Wanted("Other", ("other", "Other"))])[:2] == Scope(()).names(wanted)
