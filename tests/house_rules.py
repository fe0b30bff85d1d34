# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""House rules that no linter knows: licence headers, file, function and class sizes, no probing, no broad except.

Run by pre-commit and by `tests/test_house_rules.py`; prints one line a violation and exits 1 when there are any.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 100
MAX_METHODS = 20
HEADER = "# SPDX-License-Identifier: Apache-2.0"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def python_files(root: Path) -> list[Path]:
    folders = ("areal", "tests", "benchmarks", "examples")
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def _node_violations(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, FUNCTIONS):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield node.lineno, f"{node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"
        if not node.name.startswith("_") and node.returns is None:
            yield node.lineno, f"{node.name} is public and has no return type"
    elif isinstance(node, ast.ClassDef):
        num_methods = sum(isinstance(child, FUNCTIONS) for child in node.body)
        if num_methods > MAX_METHODS:
            yield node.lineno, f"class {node.name} has {num_methods} methods, at most {MAX_METHODS}"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
        yield node.lineno, f"{node.func.id} probes; check versions and capabilities once, by name"
    elif isinstance(node, ast.ExceptHandler):
        caught = ast.unparse(node.type) if node.type else "everything"
        if caught in ("everything", "Exception", "BaseException"):
            yield node.lineno, f"broad except ({caught})"


def violations(root: Path) -> list[str]:
    found = []
    for path in python_files(root):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root)
        num_lines = text.count("\n")
        if HEADER not in text[:200]:
            found.append(f"{name}:1 has no licence header")
        if num_lines > MAX_FILE_LINES:
            found.append(f"{name}:1 has {num_lines} lines, at most {MAX_FILE_LINES}")
        if name.parts[0] == "areal":
            tree = ast.parse(text)
            found += [f"{name}:{line} {what}" for node in ast.walk(tree) for line, what in _node_violations(node)]
    return found


def main() -> int:
    found = violations(Path(__file__).resolve().parent.parent)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
