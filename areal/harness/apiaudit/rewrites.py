# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""More seeded changes for `mutations.py`: what a name is, how its parameters are passed, the way it is exported; and rewrites
of the same kinds that callers cannot notice.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.symbols import Symbol
from areal.harness.apiaudit.usage import Kind, Usage

PLACE = "moved_by_mutation"
Function = ast.FunctionDef | ast.AsyncFunctionDef
Made = tuple[str, dict[str, str]]
"""Kind of a change, and the new texts of modules."""
_DECORATOR = "def _kept_by_mutation(given):\n    return given"


@dataclass(frozen=True)
class Callee:
    """The function whose parameters our calls bind; `num_receivers` of them are filled by Python."""

    module: str
    node: Function
    num_receivers: int


def cut(text: str, node: Function | ast.ClassDef, instead: str = "pass") -> str:
    """The text with a definition replaced."""
    lines = text.split("\n")
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    indent = " " * node.col_offset
    lines[first - 1 : node.end_lineno] = [indent + line for line in instead.split("\n")]
    return "\n".join(lines)


def parameter_rewrites(text: str, callee: Callee, calls: list[Usage]) -> Iterator[Made]:
    """Changes of how parameters are passed, and of what the function is."""
    node = callee.node

    def mutated(change: Callable[[Function], None]) -> dict[str, str]:
        changed = copy.deepcopy(node)
        change(changed)
        return {callee.module: cut(text, node, ast.unparse(changed))}

    names = [argument.arg for argument in node.args.args]
    num_positional = max(usage.num_positional for usage in calls) + callee.num_receivers
    named = {keyword for usage in calls for keyword in usage.keywords}
    by_name = [name for name in names[callee.num_receivers :] if name in named]
    if by_name and not node.args.kwarg and not node.args.posonlyargs:
        yield "B7 keyword to positional-only", mutated(lambda f: _positional_only(f.args, by_name[0]))
    by_place = names[callee.num_receivers : num_positional]
    if by_place and not node.args.vararg:
        yield "B8 positional to keyword-only", mutated(lambda f: _keyword_only(f.args, names.index(by_place[-1])))
    first_default = len(names) - len(node.args.defaults)
    if num_positional <= first_default < len(names) and names[first_default] not in named and not node.args.posonlyargs:
        yield "B9 default removed", mutated(lambda f: f.args.defaults.pop(0))
    if len(by_place) > 1 and not node.args.posonlyargs:
        at = callee.num_receivers
        yield "B10 parameters swapped", mutated(lambda f: _swap(f.args, at))
    unused = [name for name in names[max(num_positional, callee.num_receivers) :] if name not in named]
    if len(unused) > 0 and not node.args.vararg and not node.args.posonlyargs:
        yield "C5 unused to keyword-only", mutated(lambda f: _keyword_only(f.args, names.index(unused[0])))
    raising = [ast.parse("raise RuntimeError('removed')").body[0]]
    yield "B12 only raises", mutated(lambda f: setattr(f, "body", raising))


def function_rewrites(text: str, symbol: Symbol, node: Function, calls: list[Usage]) -> Iterator[Made]:
    """Changes of what a function or method is."""
    module = symbol.module

    def mutated(change: Callable[[Function], None]) -> dict[str, str]:
        changed = copy.deepcopy(node)
        change(changed)
        return {module: cut(text, node, ast.unparse(changed))}

    decorators = [ast.unparse(each) for each in node.decorator_list]
    is_method = symbol.owner is not None
    if isinstance(node, ast.FunctionDef) and not decorators:
        if not any(usage.awaited for usage in calls):
            yield "B11 becomes a coroutine", {module: cut(text, node, "async " + ast.unparse(node))}
        if is_method and len(node.args.args) == 1:
            yield "B14 method to property", mutated(lambda f: f.decorator_list.append(ast.Name("property")))
        yield "B13 becomes a value", {module: cut(text, node, f"{node.name} = 0")}
    if decorators in (["staticmethod"], ["classmethod"]):
        if decorators == ["staticmethod"]:
            yield "B15 bound to plain method", mutated(_as_method)
        else:
            yield "B15 bound to plain method", mutated(lambda f: f.decorator_list.clear())
    yield "C6 docstring", mutated(lambda f: f.body.insert(0, ast.Expr(ast.Constant("Changed by mutation."))))
    if not is_method:
        body = copy.deepcopy(node)
        body.name = f"_{node.name}_by_mutation"
        alias = ast.unparse(body) + f"\n{node.name} = {body.name}"
        yield "C7 alias of a private name", {module: cut(text, node, alias)}
        wrapped = copy.deepcopy(node)
        wrapped.decorator_list.insert(0, ast.Name("_kept_by_mutation"))
        yield "C8 decorator that keeps", {module: cut(text, node, f"{_DECORATOR}\n{ast.unparse(wrapped)}")}


def class_rewrites(text: str, symbol: Symbol, node: ast.ClassDef, usages: tuple[Usage, ...]) -> Iterator[Made]:
    """Changes of what a class is."""
    used_as_class = any(usage.kind in (Kind.SUBCLASS, Kind.TYPE) for usage in usages)
    if used_as_class:
        yield "B19 class to function", {symbol.module: cut(text, node, f"def {node.name}(*args, **kwargs): ...")}
    if not node.bases and not node.keywords and any(usage.kind is Kind.CALL for usage in usages):
        changed = copy.deepcopy(node)
        changed.bases = [ast.parse("abc.ABC", mode="eval").body]
        changed.body += ast.parse("@abc.abstractmethod\ndef added_by_mutation(self): ...").body
        yield "B20 becomes abstract", {symbol.module: cut(text, node, "import abc\n" + ast.unparse(changed))}
    changed = copy.deepcopy(node)
    based = copy.deepcopy(node)
    based.name = f"_{node.name}_by_mutation"
    based.decorator_list = []
    changed.bases, changed.keywords, changed.body = [ast.Name(based.name)], [], [ast.Pass()]
    if not node.decorator_list:
        yield "C9 body in a base", {symbol.module: cut(text, node, f"{ast.unparse(based)}\n{ast.unparse(changed)}")}


def export_rewrites(library: Library, symbol: Symbol, node: Function | ast.ClassDef) -> Iterator[Made]:
    """Changes of how a top-level name leaves its module."""
    sources, module = library.sources, symbol.module
    text = sources.text(module)
    yield "B18 deleted at the end", {module: f"{text}\ndel {node.name}\n"}
    if sources.definitions(module, "__getattr__") or sources.is_stub(module) or "sys.modules[__name__]" in text:
        return
    package = module if sources.is_package(module) else module.rpartition(".")[0]
    moved = {f"{package}.{PLACE}": text.replace("__all__", "_all")}
    for kind, listed in (("C10 behind a lazy table", node.name), ("B17 left out of a lazy table", "another_name")):
        table = (
            f'_NAMES_BY_MUTATION = {{"{listed}": "{package}.{PLACE}"}}\n\n\ndef __getattr__(name):\n'
            "    return getattr(importlib.import_module(_NAMES_BY_MUTATION[name]), name)"
        )
        yield kind, {module: cut(text, node, f"import importlib\n{table}"), **moved}


def reexport_rewrites(library: Library, symbol: Symbol, usages: tuple[Usage, ...]) -> Iterator[Made]:
    """The line removed by which another module hands the name on to us."""
    sources = library.sources
    for chain in sorted({usage.symbol for usage in usages if "()" not in usage.symbol}):
        module, _, name = chain.rpartition(".")
        if symbol.owner is not None or not sources.has_module(module) or module == symbol.module:
            continue
        found = sources.definitions(module, name)
        nodes = [definition.node for definition in found if isinstance(definition.node, ast.ImportFrom)]
        lazily = "__getattr__" in sources.text(module) or "LazyModule" in sources.text(module)
        if len(found) != 1 or not nodes or lazily or sources.stars(module):
            continue
        changed = copy.deepcopy(nodes[0])
        changed.names = [alias for alias in changed.names if (alias.asname or alias.name) != name]
        lines = sources.text(module).split("\n")
        indent = " " * nodes[0].col_offset
        instead = ast.unparse(changed) if changed.names else "pass"
        lines[nodes[0].lineno - 1 : nodes[0].end_lineno] = [indent + instead]
        yield "B16 re-export dropped", {module: "\n".join(lines)}
        return


def _positional_only(arguments: ast.arguments, name: str) -> None:
    index = next(i for i, argument in enumerate(arguments.args) if argument.arg == name)
    arguments.posonlyargs = arguments.args[: index + 1]
    arguments.args = arguments.args[index + 1 :]


def _keyword_only(arguments: ast.arguments, index: int) -> None:
    moved = arguments.args[index:]
    without = len(arguments.args) - len(arguments.defaults)
    defaults = [None] * without + list(arguments.defaults)
    arguments.kwonlyargs = [*moved, *arguments.kwonlyargs]
    arguments.kw_defaults = [*defaults[index:], *arguments.kw_defaults]
    arguments.args = arguments.args[:index]
    arguments.defaults = [default for default in defaults[:index] if default is not None]


def _swap(arguments: ast.arguments, at: int) -> None:
    arguments.args[at], arguments.args[at + 1] = arguments.args[at + 1], arguments.args[at]


def _as_method(function: Function) -> None:
    function.decorator_list.clear()
    function.args.args.insert(0, ast.arg("self"))
