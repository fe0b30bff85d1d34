# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of tests: GPU without its marker (R018), nothing asserted (R023), skipped without a reason (R024)."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator

from areal.harness.core.findings import Finding
from areal.harness.review.change import Change, ChangedFile, parse

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
ASSERTING = re.compile(
    r"_*(?:assert|check|expect|verify|ensure|must)\w*|raises|warns|fail|deprecated_call|rejects|approve\w*"
)
HARMLESS_CUDA = {"is_available", "device_count", "is_initialized", "manual_seed_all", "is_bf16_supported"}
GPU_MARKS = re.compile(r"mark\.gpu|mark\.skipif\(.*cuda|requires_(?:cuda|gpu)|importorskip\(.triton", re.DOTALL)
_ON_DEVICE = re.compile(r"\.to\(device\b|torch\.\w+\([^()]*device=device\b|\.to\(device=device\b")
EMPTY = re.compile(r"\W*(?:todo|fixme|tbd|wip|skip(?:ped)?|xxx)?\W*", re.IGNORECASE)
"""Reasons that say nothing."""
MAX_DEPTH = 3  # of helpers called by helpers


def _tests(file: ChangedFile) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Test functions that the change adds or alters."""
    name = file.path.rpartition("/")[2]
    if file.path.startswith("tests/") and name.startswith("test_"):
        inner = {id(n) for f in file.nodes(*FUNCTIONS) for n in ast.walk(f) if isinstance(n, FUNCTIONS) and n is not f}
        for node in file.nodes(*FUNCTIONS):
            if isinstance(node, FUNCTIONS) and node.name.startswith("test") and id(node) not in inner:
                yield node


def unmarked_gpu_tests(change: Change) -> Iterator[Finding]:
    """R018."""
    for file in change.files:
        for test in _tests(file):
            call = next((node for node in ast.walk(_resolved(test, file.new_tree)) if _needs_gpu(node)), None)
            call = call or _parametrized(test)
            if call is not None and not _is_marked(file, test):
                shown = ast.unparse(call).split("\n")[0][:60]
                message = f"{test.name} needs a GPU ({shown}) and is not marked"
                hint = "@pytest.mark.gpu"
                yield Finding(code="R018", message=message, file=file.path, line=test.lineno, hint=hint)


def _parametrized(test: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
    """`"cuda"` among the values of a parameter `device` that tensors are made on or moved to, without a mark of its own."""
    text = ast.unparse(test)
    if "device" not in [argument.arg for argument in test.args.args] or not _ON_DEVICE.search(text):
        return None
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("parametrize"):
            marked = {
                id(inside)
                for node in ast.walk(decorator)
                if isinstance(node, ast.Call) and any(k.arg == "marks" for k in node.keywords)
                for inside in ast.walk(node)
            }
            found = (n for n in ast.walk(decorator) if isinstance(n, ast.Constant) and _is_cuda(n))
            return next((node for node in found if id(node) not in marked), None)
    return None


class _Constants(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.Constant]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """The value of a constant in place of its name."""
        return self._values.get(node.id, node) if isinstance(node.ctx, ast.Load) else node


def _resolved(test: ast.AST, tree: ast.Module | None) -> ast.AST:
    """The test with the constants of its module, such as `DEVICE = "cuda"`, put in place of their names."""
    constants = {
        target.id: node.value
        for node in (tree.body if tree else ())
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return _Constants(constants).visit(copy.deepcopy(test)) if constants else test


def _needs_gpu(node: ast.AST) -> bool:
    if isinstance(node, ast.With):
        return any(_is_cuda(item.context_expr) for item in node.items)
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and "device" in t.id for t in node.targets):
        return _is_cuda(node.value)
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    if name.startswith("torch.cuda.") and name.split(".")[2] not in HARMLESS_CUDA:
        return True
    if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
        return name != "torch.cuda" and all(isinstance(argument, ast.Constant) for argument in node.args)
    if name.endswith(".to") and any(_is_cuda(given) for given in (*node.args, *(k.value for k in node.keywords))):
        return True
    if name.endswith("init_process_group"):
        return any(_constant(value) == "nccl" for value in [*node.args, *(k.value for k in node.keywords)])
    tensor_maker = name.startswith("torch.") and name != "torch.device"
    return tensor_maker and any(k.arg == "device" and _is_cuda(k.value) for k in node.keywords)


def _constant(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _is_cuda(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("device") and node.args:
        node = node.args[0]
    return str(_constant(node)).split(":")[0] == "cuda"


def _is_marked(file: ChangedFile, test: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    assert file.new_tree is not None
    texts = [ast.unparse(decorator) for decorator in test.decorator_list]
    for node in file.new_tree.body:
        if isinstance(node, ast.ClassDef) and test in ast.walk(node):
            texts += [ast.unparse(decorator) for decorator in node.decorator_list]
        elif isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets
        ):
            texts.append(ast.unparse(node.value))
        elif isinstance(node, ast.Assign):  # `gpu_only = pytest.mark.skipif(not torch.cuda.is_available(), reason=...)`
            used = {ast.unparse(decorator) for decorator in test.decorator_list}
            texts += [ast.unparse(node.value) for target in node.targets if ast.unparse(target) in used]
    body = "\n".join(ast.unparse(node.test) for node in ast.walk(test) if isinstance(node, ast.If | ast.IfExp))
    return any(GPU_MARKS.search(text) for text in texts) or "cuda.is_available" in body


def tests_without_assertion(change: Change) -> Iterator[Finding]:
    """R023: neither the test nor a helper it hands over to asserts, raises or expects anything."""
    for file in change.files:
        for test in _tests(file):
            if any("fixture" in ast.unparse(decorator) for decorator in test.decorator_list):
                continue
            if not _asserts(change, file.new_tree, test, 0):
                message = f"{test.name} asserts nothing, so it can only fail by an exception"
                hint = "assert what the docstring or the name promises"
                yield Finding(code="R023", message=message, file=file.path, line=test.lineno, hint=hint)


def _asserts(change: Change, tree: ast.Module | None, node: ast.AST, depth: int) -> bool:
    names: set[str] = set()
    ineffective = _ineffective(node)
    for child in ast.walk(node):
        if id(child) in ineffective:
            continue
        if isinstance(child, ast.Assert) and not _is_trivial(child.test):
            return True
        if isinstance(child, ast.Call):
            name = child.func.attr if isinstance(child.func, ast.Attribute) else ast.unparse(child.func)
            if ASSERTING.fullmatch(name):
                return True
        if isinstance(child, ast.Raise) and depth:  # a helper that raises what it found
            return True
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
            names.add(child.id)
        elif isinstance(child, ast.arg):  # fixtures of this module
            names.add(child.arg)
    if depth >= MAX_DEPTH or tree is None:
        return False
    return any(
        _asserts(change, home, found, depth + 1) for home, found in _helpers(change, tree, names) if found is not node
    )


def _is_trivial(test: ast.expr) -> bool:
    """True whatever the code does; two calls that look alike are a test of determinism."""
    if isinstance(test, ast.Compare) and len(test.comparators) == 1:
        left, right, operator = test.left, test.comparators[0], test.ops[0]
        if ast.unparse(left).startswith("len(") and ast.unparse(right) == "0" and isinstance(operator, ast.GtE):
            return True
        calls = any(isinstance(node, ast.Call | ast.Await) for node in ast.walk(left))
        return not calls and ast.dump(left) == ast.dump(right) and isinstance(operator, ast.Eq | ast.Is)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        return any(_is_trivial(value) for value in test.values)
    return isinstance(test, ast.Constant) or (isinstance(test, ast.Tuple) and bool(test.elts))


def _ineffective(test: ast.AST) -> set[int]:
    """Nodes whose assertions cannot fail the test: functions inside that nothing mentions, `try` whose handler swallows them."""
    loaded = {n.id for n in ast.walk(test) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    found: set[int] = set()
    for node in ast.walk(test):
        dead: list[ast.stmt] = []
        if isinstance(node, FUNCTIONS) and node is not test and isinstance(test, FUNCTIONS):
            dead = [] if node.name in loaded or node.decorator_list else node.body
        elif isinstance(node, ast.Try) and any(_swallows(handler) for handler in node.handlers):
            dead = node.body
        found |= {id(inside) for statement in dead for inside in ast.walk(statement)}
    return found


def _swallows(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.unparse(handler.type)
    is_broad = handler.type is None or re.search(r"\b(AssertionError|Exception|BaseException)\b", caught) is not None
    return is_broad and all(isinstance(each, ast.Pass | ast.Continue) for each in handler.body)


def _helpers(change: Change, tree: ast.Module, names: set[str]) -> Iterator[tuple[ast.Module, ast.AST]]:
    """Functions and classes of these names, in this module or in the module of the repository that they come from."""
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and node.name in names:
            yield tree, node
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tests"):
            wanted = {alias.name for alias in node.names if (alias.asname or alias.name) in names}
            path = node.module.replace(".", "/")
            data = (change.head.read(f"{path}.py") or change.head.read(f"{path}/__init__.py")) if wanted else None
            home = parse(data.decode("utf-8", errors="replace")) if data else None
            for found in home.body if home else ():
                if isinstance(found, (*FUNCTIONS, ast.ClassDef)) and found.name in wanted:
                    yield home, found  # type: ignore[misc]


def skips_without_reason(change: Change) -> Iterator[Finding]:
    """R024."""
    for file in change.files:
        if not file.path.startswith("tests/") or not file.is_python:
            continue
        for node in file.nodes(ast.Call, ast.Attribute):
            called = _called_functions(file.new_tree)
            if _is_unexplained(node, called):
                message = f"{ast.unparse(node)[:70]} gives no reason"
                hint = "reason='what is missing, and who brings it back when'"
                yield Finding(code="R024", message=message, file=file.path, line=node.lineno, hint=hint)


def _called_functions(tree: ast.Module | None) -> set[int]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call)) if tree else ()
    return {id(call.func) for call in calls}


def _is_unexplained(node: ast.AST, called: set[int]) -> bool:
    if isinstance(node, ast.Attribute):
        return id(node) not in called and ast.unparse(node) in (
            "pytest.mark.skip",
            "pytest.mark.xfail",
            "unittest.skip",
        )
    assert isinstance(node, ast.Call)
    name = ast.unparse(node.func)
    reasons = [keyword.value for keyword in node.keywords if keyword.arg in ("reason", "msg")]
    if name in ("pytest.mark.skip", "pytest.skip", "unittest.skip", "self.skipTest"):
        reasons += node.args[:1]
    elif name in ("pytest.mark.skipif", "pytest.mark.xfail", "unittest.skipIf", "unittest.skipUnless", "pytest.xfail"):
        reasons += [] if name == "pytest.mark.skipif" else node.args[-1:] if name != "pytest.mark.xfail" else []
    else:
        return False
    return not reasons or any(isinstance(r, ast.Constant) and EMPTY.fullmatch(str(r.value or "")) for r in reasons)
