# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Objects named by dotted strings, as configurations and the command line name them."""

from __future__ import annotations

import importlib
import operator
from typing import Any

from areal.utils.errors import ConfigError


def import_from_string(path: str) -> Any:
    """Return the object at `package.module.attribute` (`package.module:attribute` works too).

    Raises `ConfigError` for a string without a module part, a module that does not import, and a name it does not have.
    """
    module_name, _, attribute = path.replace(":", ".").rpartition(".")
    if not module_name or not attribute:
        raise ConfigError(f"expected 'package.module.attribute', got {path!r}; write the name with its module")
    try:
        return operator.attrgetter(attribute)(importlib.import_module(module_name))
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"expected 'package.module.attribute' that can be imported, got {path!r} ({error}); check the name, and that "
            "the module is installed or its folder on PYTHONPATH"
        ) from error
