# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Configs as plain data and as files, with every secret replaced by `***`.

Called by trainers (which save the resolved config of a run) and by loggers that upload it.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from areal.api.config.fields import REDACTED

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SECRET_NAME = re.compile(r"(api_key|password|secret|(^|_)token)$", re.IGNORECASE)
"""Also redacted by name: secrets in a user's own sections and in `dataset_kwargs` are not declared as such."""


def conf_as_dict(cfg: Any) -> dict[str, Any]:
    """A config object (or a resolved DictConfig) as nested dicts of plain values, secrets redacted, order kept."""
    if dataclasses.is_dataclass(cfg):
        return _redact(dataclasses.asdict(cfg), _declared_secrets(cfg))
    from omegaconf import OmegaConf

    return _redact(OmegaConf.to_container(cfg, resolve=True), set())


def to_yaml(cfg: Any | DictConfig) -> str:
    """`conf_as_dict` as YAML text."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(conf_as_dict(cfg)))


def save_config(cfg: Any | DictConfig, log_dir: str | Path) -> Path:
    """Write the config, secrets redacted, to `log_dir/config.yaml` and return that path; creates the folder."""
    path = Path(log_dir) / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_yaml(cfg), encoding="utf-8")
    return path


def get_py_cmd(module: str, args: Mapping[str, Any]) -> list[str]:
    """The command `python -m module` with `args` as flags, run by this interpreter.

    Underscores in names become dashes; None, False, empty strings and empty lists are left out; True is a bare flag;
    a list gives several values to one flag.
    """
    command = [sys.executable, "-m", module]
    for name, value in args.items():
        if value is None or value is False or value == "" or value == []:
            continue
        command.append(f"--{name.replace('_', '-')}")
        if isinstance(value, list | tuple):
            command.extend(str(item) for item in value)
        elif value is not True:
            command.append(str(value))
    return command


def _declared_secrets(config: Any) -> set[str]:
    """Names of the fields declared secret in `config` and its sections."""
    names = {field.name for field in dataclasses.fields(config) if field.metadata.get("secret")}
    for value in vars(config).values():
        if dataclasses.is_dataclass(value):
            names |= _declared_secrets(value)
    return names


def _redact(value: Any, secrets: set[str]) -> Any:
    if isinstance(value, list | tuple):
        return [_redact(item, secrets) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: REDACTED
        if item and isinstance(item, str) and (key in secrets or _SECRET_NAME.search(str(key)))
        else _redact(item, secrets)
        for key, item in value.items()
    }
