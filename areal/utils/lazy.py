# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Lazy package namespaces: a package names its public objects, and the module behind a name loads at first use.

Called by the `__init__` files of areal's packages, so that importing `areal` or `areal.api` costs no torch import.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

LazyHooks = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def attach(package: str, homes: Mapping[str, str]) -> LazyHooks:
    """Return `(__getattr__, __dir__, __all__)` for a package.

    `homes` maps each public name to the module that defines it; a name that equals the last part of its home is the module
    itself. Unknown names raise `AttributeError` listing what the package has.
    """
    names = sorted(homes)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has: {', '.join(names)}")
        home = homes[name]
        module = importlib.import_module(home)
        value = module if home.rpartition(".")[2] == name else module.__dict__[name]
        sys.modules[package].__dict__[name] = value
        return value

    return load, lambda: list(names), names
