# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Objects named by dotted strings, as configurations and the command line name them."""

from __future__ import annotations

import importlib
import operator
from typing import Any


def import_from_string(path: str) -> Any:
    """Return the object at `package.module.attribute` (`package.module:attribute` works too).

    Raises `ValueError` for a string without a module part, `ImportError` when the module does not import and
    `AttributeError` when the module has no such name.
    """
    module_name, _, attribute = path.replace(":", ".").rpartition(".")
    if not module_name or not attribute:
        raise ValueError(f"expected 'package.module.attribute', got {path!r}")
    return operator.attrgetter(attribute)(importlib.import_module(module_name))
