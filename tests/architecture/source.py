"""The package's source as trees, and the scanners that the rules below are made of."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support import SOURCE

Scanner = Callable[[ast.AST], Iterator[ast.AST]]


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """How long the file is."""
        return len(self.text.splitlines())

    def text_of(self, node: ast.stmt) -> str:
        """Return the lines of a statement."""
        return "\n".join(self.text.splitlines()[node.lineno - 1 : node.end_lineno])


@cache
def modules() -> tuple[Module, ...]:
    """Return every Python file of the package, its path relative to it."""
    return tuple(_module(path) for path in sorted(SOURCE.rglob("*.py")))


def _module(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    return Module(path.relative_to(SOURCE).as_posix(), text, ast.parse(text))


@cache
def templates() -> dict[str, str]:
    """Return every template of the package by its path relative to it."""
    return {
        path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((SOURCE / "templates").rglob("*"))
        if path.is_file()
    }


def findings(scanner: Scanner, *, except_in: tuple[str, ...] = ()) -> list[str]:
    """Return `path:line: code` for everything that a scanner finds, exempt files and folders (`http/`) left out."""
    return [
        f"{module.path}:{getattr(node, 'lineno', '?')}: {ast.unparse(node)[:120]}"
        for module in modules()
        if not any(
            module.path == exempt or (exempt[-1] == "/" and module.path.startswith(exempt)) for exempt in except_in
        )
        for node in scanner(module.tree)
    ]


def is_found(scanner: Scanner, code: str) -> bool:
    """Tell whether a scanner finds anything in a piece of code: the test of the test."""
    return any(True for _ in scanner(ast.parse(code)))


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for a chain of names, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Return every call with the dotted name it calls; imported names are written out (`from os import system`)."""
    known = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, _, rest = dotted(node.func).partition(".")
            full = known.get(first, first)
            yield (f"{full}.{rest}" if rest else full), node


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Return every imported module (`from a.b import c` is both `a.b` and `a.b.c`); relative ones begin with dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base, node
            yield from ((f"{base}{'' if base.endswith('.') else '.'}{alias.name}", node) for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _imported(tree: ast.AST) -> dict[str, str]:
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return known
