# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Hydra's side of loading: `defaults:` lists and the override grammar.

Called by `areal.api.config.load`. Unlike Hydra itself, `key=value` may add a key that the file does not hold (whether it
is valid is the schema's business), and nothing global stays changed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from areal.utils.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def compose_defaults(path: Path, overrides: Sequence[str]) -> tuple[DictConfig, list[Override]]:
    """The file at `path` with its `defaults:` list composed, and the overrides that are still to be applied.

    An override whose key is a folder beside the file (`model=small` with `model/small.yaml`) chooses a file of that
    group, as in Hydra, and is used up here.
    """
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    parsed = [_parse(text) for text in overrides]
    try:
        cfg = OmegaConf.load(path)
    except (OSError, ValueError, YAMLError) as error:
        raise ConfigError(f"{path}: expected a YAML file, got an error: {error}; correct the file") from error
    if not isinstance(cfg, DictConfig):
        raise ConfigError(f"{path}: expected keys and values, got {type(cfg).__name__}; write `key: value` lines")
    if "defaults" not in cfg:
        return cfg, parsed
    groups = [item for item in parsed if (path.parent / item.key_or_group).is_dir()]
    cfg = _compose(path, [item.input_line for item in groups])
    OmegaConf.set_struct(cfg, False)
    return cfg, [item for item in parsed if item not in groups]


def apply_overrides(cfg: DictConfig, overrides: Sequence[Override]) -> None:
    """Apply value overrides to `cfg` in place, in order: `key=`, `+key=` and `++key=` set, `~key` removes."""
    from omegaconf.errors import OmegaConfBaseException

    for item in overrides:
        if item.package is not None or item.is_sweep_override():
            raise ConfigError(
                f"override {item.input_line!r}: expected one value for one key, got several; run once for each value, "
                "or quote a value that holds a comma"
            )
        try:
            if item.is_delete():
                _delete(cfg, item)
            else:
                _set(cfg, item)
        except (OmegaConfBaseException, ValueError, IndexError) as error:
            problem = str(error).partition("\n")[0]
            raise ConfigError(f"override {item.input_line!r}: cannot be applied: {problem}; check the key") from error


def _parse(text: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ConfigError(
            f"override {text!r}: expected key=value, +key=value, ++key=value or ~key, got: {error}; a value with "
            "brackets, spaces or commas needs quotes: 'key=\"value\"'"
        ) from error


def _compose(path: Path, group_overrides: list[str]) -> DictConfig:
    """Compose with Hydra, and put back the global state of a host application that uses Hydra too."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    host = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(path.parent), version_base="1.3"):
            return compose(config_name=path.name, overrides=group_overrides)
    except HydraException as error:
        raise ConfigError(f"{path}: its `defaults:` list cannot be composed: {error}") from error
    finally:
        GlobalHydra.instance().hydra = host


def _set(cfg: DictConfig, item: Override) -> None:
    from omegaconf import OmegaConf

    _own_copy_of_parents(cfg, item.key_or_group)
    OmegaConf.update(cfg, item.key_or_group, item.value(), merge=True, force_add=True)


def _own_copy_of_parents(cfg: DictConfig, key: str) -> None:
    """Give `a` its own values when it is a reference such as `${b}` and `a.x` is about to be set."""
    from omegaconf import OmegaConf

    names = key.split(".")
    for end in range(1, len(names)):
        parent = OmegaConf.select(cfg, ".".join(names[: end - 1])) if end > 1 else cfg
        name = names[end - 1]
        if not OmegaConf.is_dict(parent) or name not in parent:
            return
        if OmegaConf.is_interpolation(parent, name):
            parent[name] = copy.deepcopy(parent[name])


def _delete(cfg: DictConfig, item: Override) -> None:
    from omegaconf import OmegaConf

    parent_key, _, name = item.key_or_group.rpartition(".")
    parent = OmegaConf.select(cfg, parent_key) if parent_key else cfg
    if not OmegaConf.is_dict(parent) or name not in parent:
        raise ConfigError(
            f"override {item.input_line!r}: expected a key of the file, got {item.key_or_group!r}, which is not in it; "
            "remove the override (the default already holds)"
        )
    del parent[name]
