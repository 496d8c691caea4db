"""What can be said about the names in a module without running it."""

import ast
import builtins
import symtable
from collections import Counter
from collections.abc import Iterator, Sequence

__all__ = ["name_faults"]

_OF_MODULES = {"__file__", "__name__", "__doc__"}


def name_faults(text: str) -> list[str]:
    """Return which names of a module are undefined, bound twice, or hidden in a class by one of its methods."""
    table = symtable.symtable(text, "module", "exec")
    defined = {symbol.get_name() for symbol in table.get_symbols() if _is_bound(symbol)} | {
        *dir(builtins),
        *_OF_MODULES,
    }
    faults = [f"{name} is undefined" for name in _globals(table) if name not in defined]
    tree = ast.parse(text)
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    for body in bodies:
        faults += [f"{name} is bound twice" for name, times in Counter(_bound(body)).items() if times > 1]
    for child in table.get_children():
        if child.get_type() == "class":
            faults += [f"{name} is hidden in {child.get_name()}" for name in _hidden(child)]
    return faults


def _is_bound(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _bound(body: Sequence[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name for alias in names)
            case ast.Import(names=names):
                yield from (alias.asname for alias in names if alias.asname is not None)


def _hidden(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield what a class's annotations and decorators name, and its own methods are called."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and _is_bound(symbol):
            yield symbol.get_name()
