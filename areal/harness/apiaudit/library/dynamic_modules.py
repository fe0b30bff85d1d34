# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a module makes names at run time that its sources do not show."""

from __future__ import annotations

import re

from areal.harness.apiaudit.library.lazy_names import understood_names
from areal.harness.apiaudit.library.sources import Sources

_WRITES = re.compile(
    r"globals\(\)\s*\[|globals\(\)\.update|vars\(\)\s*\[|setattr\(\s*sys\.modules\[__name__\]"
    r"|setattr\(\s*_?(?:this|current|self)_module"
)
_REPLACED = re.compile(r"sys\.modules\[__name__\]\s*=")


def is_dynamic(sources: Sources, module: str, *, is_refused: bool = False) -> str:
    """The reason why a name that is not found may still exist; empty when it cannot. `is_refused`: `__getattr__` raises for it."""
    key = f"dynamic{is_refused:d}:{module}"
    if key not in sources.notes:
        sources.notes[key] = _reason(sources, module, is_refused)
    return str(sources.notes[key])


def _reason(sources: Sources, module: str, is_refused: bool) -> str:
    text = sources.text(module)
    if not is_refused and sources.definitions(module, "__getattr__") and not understood_names(sources, module):
        return f"{module} has a __getattr__ that cannot be followed"
    if "__getattr__ = " in text or (
        "attach(" in text and re.search(r"^\s*[\w, ]*__getattr__[\w, ]*=.*attach", text, re.MULTILINE)
    ):
        return "" if "attach" in text else f"{module} has a __getattr__ made at run time"
    if _WRITES.search(text):
        return f"{module} writes its own names at run time"
    if "sys.modules[__name__]" in text and _REPLACED.search(text) and "LazyModule" not in text:
        return f"{module} puts an object in its place at run time"
    return ""
