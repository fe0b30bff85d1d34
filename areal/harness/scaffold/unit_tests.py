# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tests from what a module does: `python -m areal.harness.scaffold.unit_tests --target areal.x.y[:symbol] --to tests/...`.

Writes one table a function, of the arguments that tell the module from its mutants, and reports what was left out and why.
Run by the skill add-unit-tests, in its stage.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import resource
import sys
import tempfile
from pathlib import Path

from areal.harness.scaffold.behaviour import Case, Study, study
from areal.harness.scaffold.values import source_of

LICENCE = "# Copyright 2026 The areal authors\n# SPDX-License-Identifier: Apache-2.0\n"
MEMORY_BYTES = 16 << 30


def render(target: str, found: Study) -> str:
    """The test module."""
    module_name, _, _ = target.partition(":")
    parent, _, leaf = module_name.rpartition(".")
    errors = {case.error for cases in found.cases.values() for case in cases if case.error is not None}
    imports = {f"from {parent} import {leaf}"}
    imports |= {
        f"from {error.__module__} import {error.__qualname__}" for error in errors if error.__module__ != "builtins"
    }
    module = importlib.import_module(module_name)
    tables = [_tables(leaf, name, inspect.signature(vars(module)[name]), cases) for name, cases in found.cases.items()]
    head = f'{LICENCE}"""What `{module_name}` does, on the arguments that tell it from its mutants. Read the tables: they say what is true today."""'
    lines = [
        head,
        "from __future__ import annotations",
        "from typing import Any",
        "import pytest",
        "\n".join(sorted(imports)),
    ]
    return "\n\n".join([*lines, *(table for table in tables if table)]) + "\n"


def _tables(module: str, name: str, signature: inspect.Signature, cases: list[Case]) -> str:
    parts = []
    values = [case for case in cases if case.error is None and not case.by_repr]
    shown = [case for case in cases if case.by_repr]
    errors = [case for case in cases if case.error is not None]
    names = list(signature.parameters)[: len(cases[0].arguments)] if cases else []
    call = f"{module}.{name}({', '.join(names)})"
    typed = "".join(f"{argument}: Any, " for argument in names)
    if values:
        rows = ",\n    ".join(_row([*map(source_of, case.arguments), case.expected]) for case in values)
        parts.append(
            f"@pytest.mark.parametrize({_names([*names, 'expected'])}, [\n    {rows},\n])\n"
            f"def test_{name}_table({typed}expected: Any) -> None:\n"
            f"    result = {call}\n"
            f"    assert (type(result), result) == (type(expected), expected)\n"
        )
    if shown:
        rows = ",\n    ".join(_row([*map(source_of, case.arguments), repr(case.expected)]) for case in shown)
        parts.append(
            f"@pytest.mark.parametrize({_names([*names, 'expected'])}, [\n    {rows},\n])\n"
            f"def test_{name}_shows({typed}expected: str) -> None:\n"
            f"    assert repr({call}) == expected\n"
        )
    if errors:
        rows = ",\n    ".join(
            _row([*map(source_of, c.arguments), c.error.__qualname__ if c.error else ""]) for c in errors
        )
        parts.append(
            f"@pytest.mark.parametrize({_names([*names, 'error'])}, [\n    {rows},\n])\n"
            f"def test_{name}_refuses({typed}error: type[Exception]) -> None:\n"
            f"    with pytest.raises(error):\n"
            f"        {call}\n"
        )
    return "\n\n".join(parts)


def _names(names: list[str]) -> str:
    return f'("{names[0]}",)' if len(names) == 1 else "(" + ", ".join(f'"{name}"' for name in names) + ")"


def _row(texts: list[str | None]) -> str:
    return "(" + ", ".join(map(str, texts)) + ("," if len(texts) == 1 else "") + ")"


def main() -> int:
    """Write the tests; 1 when no function can be tested, or the cases kill too few mutants."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--target", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--at-least", type=int, default=50, help="percentage of mutants that must be killed")
    args = parser.parse_args()
    module, _, symbol = args.target.partition(":")
    to = args.to.resolve()
    with tempfile.TemporaryDirectory(prefix="areal-unit-tests-") as folder:  # what a function writes must land nowhere
        here = Path.cwd()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        try:
            found = study(module, symbol)
        except ImportError as error:
            sys.stderr.write(f"{args.target} cannot be imported: {error}\n")
            return 1
        finally:
            os.chdir(here)
    for name, reason in found.left_out.items():
        sys.stdout.write(f"left out {name}: {reason}\n")
    sys.stdout.write(f"{found.killed} of {found.total} mutants killed\n")
    sys.stdout.writelines(f"survives: {label}\n" for label in found.survivors)
    if not found.cases:
        sys.stderr.write(f"no function of {args.target} can be tested by its types\n")
        return 1
    if found.killed * 100 < found.total * args.at_least or not found.killed:
        sys.stderr.write(
            f"the tests would kill less than {args.at_least} % of the mutants; name one function as target\n"
        )
        return 1
    to.parent.mkdir(parents=True, exist_ok=True)
    if not (to.parent / "__init__.py").exists():
        (to.parent / "__init__.py").write_text(LICENCE, encoding="utf-8")
    to.write_text(render(args.target, found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
