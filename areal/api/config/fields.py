# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How a configuration field is declared and checked.

Every field of every config class is made by `setting`: a default, one sentence of help, and, where it applies, its unit,
its allowed values or its range, and whether it is a secret. `check_fields` enforces these at construction; the loader,
the redaction of secrets and the field tests read the same metadata. Must never import torch or omegaconf.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from areal.utils.errors import ConfigError


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    unit: str = "",
    choices: tuple[Any, ...] = (),
    not_here: Mapping[str, str] | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    secret: bool = False,
) -> Any:
    """Declare one config field.

    `factory` replaces `default` for mutable values. `choices` are the only accepted values; `not_here` maps values that
    AReaL files may hold but this release has not to the advice printed with the error. `ge`, `gt`, `le` bound a number
    (None passes: the field's type says whether None is allowed). A `secret` value never reaches a file nor a `repr`.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "choices": choices,
        "not_here": dict(not_here or {}),
        "bounds": {">=": ge, ">": gt, "<=": le},
        "secret": secret,
    }
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


REDACTED = "***"
"""Written in place of a secret."""


def secret_or_env(value: str, variable: str) -> str:
    """The secret itself, or the environment variable's value when it is empty or was redacted in a saved file."""
    return os.environ.get(variable, "") if value in ("", REDACTED) else value


def check_fields(config: Any) -> None:
    """Raise `ConfigError` for the first field of `config` outside its declared choices or range."""
    values = vars(config)
    for field in dataclasses.fields(config):
        if "help" not in field.metadata:  # a field of a user's own subclass
            continue
        value, where = values[field.name], f"{type(config).__name__}.{field.name}"
        _check_choice(where, value, field.metadata)
        _check_bounds(where, value, field.metadata)


def suggestion(word: str, known: Iterable[str]) -> str:
    """A trailing " Did you mean 'x'?" for the closest known word, or the empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def _check_choice(where: str, value: Any, metadata: Mapping[str, Any]) -> None:
    choices = metadata["choices"]
    if not choices or value in choices:
        return
    if value in metadata["not_here"]:
        raise ConfigError(f"{where}: {value!r} is not in this release: {metadata['not_here'][value]}")
    listed = ", ".join(str(choice) for choice in choices)
    raise ConfigError(
        f"{where}: expected one of {listed}, got {value!r}; set it to one of these."
        + suggestion(str(value), [choice for choice in choices if isinstance(choice, str)])
    )


def _check_bounds(where: str, value: Any, metadata: Mapping[str, Any]) -> None:
    if value is None:
        return
    for sign, bound in metadata["bounds"].items():
        if bound is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{where}: expected a number {sign} {bound}, got {value!r} ({type(value).__name__})")
        within = {">=": value >= bound, ">": value > bound, "<=": value <= bound}[sign]
        if not within:
            raise ConfigError(f"{where}: expected a number {sign} {bound}, got {value}; change it to one in range")
