# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Loading: a YAML file and command-line overrides become a checked config object.

Called by drivers through `load_expr_config`. Hydra composes `defaults:` lists and reads the override grammar, OmegaConf
interpolates and converts types; keys are checked here, against the dataclasses. Must never write a file or create a
folder, and imports hydra and omegaconf only when something is loaded.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from areal.api.config import retired
from areal.api.config.overrides import apply_overrides, compose_defaults
from areal.api.config.plan import describe_plan
from areal.api.config.schema import did_you_mean, element_type, field_types, is_optional, section_class, type_name
from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = getLogger("config")

ConfigT = TypeVar("ConfigT")


class _Arguments(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"command line: {message}; write: --config FILE [--dry-run] [key=value ...]")


def is_dry_run(argv: Sequence[str]) -> bool:
    """Whether `--dry-run` is among the arguments: print `describe_plan(config)` and stop."""
    return "--dry-run" in argv


def load_expr_config(argv: Sequence[str], config_cls: type[ConfigT]) -> tuple[ConfigT, Path]:
    """Load the config that `argv` names; returns it and the path of its file.

    `argv` is `[script.py] --config FILE [--dry-run] [key=value | +key=value | ++key=value | ~key ...]`. Any valid key of
    `config_cls` may be overridden, present in the file or not. Raises `ConfigError` naming the full dotted key.
    With `--dry-run` it prints `describe_plan(config)` and ends the process, so that every driver has a dry run.
    """
    from omegaconf import OmegaConf

    cfg, path = parse_cli_args(argv)
    keys = _KeyWalk(config_cls)
    values = OmegaConf.to_container(_typed(cfg, config_cls, keys), resolve=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = _build(config_cls, values, "")
    keys.log_ignored()
    for warning in caught:
        logger.warning("%s", warning.message)
    if is_dry_run(argv):
        sys.stdout.write(describe_plan(config) + "\n")
        raise SystemExit(0)
    return config, path


def parse_cli_args(argv: Sequence[str]) -> tuple[DictConfig, Path]:
    """The file with its `defaults:` composed and the overrides applied; keys are not checked yet."""
    parser = _Arguments(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--dry-run", action="store_true")
    arguments = list(argv)
    if arguments and arguments[0].endswith(".py"):
        arguments = arguments[1:]
    options, rest = parser.parse_known_args(arguments)
    path = options.config.expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"--config: expected an existing YAML file, got {str(path)!r}; check the path")
    cfg, overrides = compose_defaults(path, rest)
    apply_overrides(cfg, overrides)
    return cfg, path


def to_structured_cfg(cfg: DictConfig, config_cls: type) -> DictConfig:
    """`cfg` checked against and merged over the defaults of `config_cls`, without building objects."""
    keys = _KeyWalk(config_cls)
    typed = _typed(cfg, config_cls, keys)
    keys.log_ignored()
    return typed


def _typed(cfg: DictConfig, config_cls: type, keys: _KeyWalk) -> DictConfig:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = OmegaConf.structured(config_cls)
    defaults = OmegaConf.create(OmegaConf.to_container(schema))  # untyped, so that unknown keys reach the walk
    # Merging would silently put the default in place of the placeholder by which a file asks for a value.
    placeholders = _placeholders(OmegaConf.to_container(cfg), "")
    keys.problems += [f"{key}: expected a value, got ???; set {key}=..." for key in placeholders]
    try:
        known = keys.walk(OmegaConf.merge(defaults, cfg), config_cls, "")
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {_first_line(error)}; correct the reference") from error
    keys.raise_problems()
    try:
        return OmegaConf.merge(schema, known)
    except OmegaConfBaseException as error:
        raise ConfigError(_type_error(error, config_cls)) from error


class _KeyWalk:
    """One pass over a composed config: known values, and what is wrong with the other keys."""

    def __init__(self, root_cls: type) -> None:
        self.root_cls = root_cls
        self.problems: list[str] = []
        self.ignored: dict[str, list[str]] = {}

    def walk(self, node: DictConfig, config_cls: type, path: str) -> dict[str, Any]:
        """The resolved values of the known keys of one section."""
        from omegaconf import DictConfig, OmegaConf

        types, known = field_types(config_cls), {}
        for name in node:
            where = f"{path}{name}"
            if name not in types:
                self._judge(node, name, config_cls, where)
                continue
            value, section = node[name], section_class(types[name])
            if section is not None and isinstance(value, DictConfig):
                known[name] = self.walk(value, section, f"{where}.")
            elif section is not None and value is None and not is_optional(types[name]):
                continue  # `section:` with nothing below it means its defaults
            else:
                known[name] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        return known

    def raise_problems(self) -> None:
        """Raise one error that lists every problem, if there is any."""
        if self.problems:
            raise ConfigError("\n".join(self.problems))

    def log_ignored(self) -> None:
        """Log one line about the keys that have no effect."""
        if self.ignored:
            listed = "; ".join(f"{', '.join(keys)} ({reason})" for reason, keys in self.ignored.items())
            logger.warning("settings without effect in this release: %s", listed)

    def _judge(self, node: DictConfig, name: str, config_cls: type, where: str) -> None:
        from areal.api.config.algorithm import PPOActorConfig

        entry = retired.find(config_cls, name)
        if where.startswith("ref.") and entry is None and _has_key(PPOActorConfig, name):
            self._ignore(where, "the reference only computes log-probs")
        elif entry is None:
            hint = did_you_mean(self.root_cls, config_cls, where)
            self.problems.append(f"{where}: no such setting.{hint or ' Remove it or correct its name.'}")
        elif entry.refuses(_plain(node, name)):
            self.problems.append(f"{where}: not supported: {entry.reason}; remove it or set it to its default")
        else:
            self._ignore(where, entry.reason)

    def _ignore(self, where: str, reason: str) -> None:
        self.ignored.setdefault(reason, []).append(where)


def _has_key(config_cls: type, name: str) -> bool:
    return name in field_types(config_cls) or retired.find(config_cls, name) is not None


def _plain(node: DictConfig, name: str) -> Any:
    """The value of a retired key as plain data; one whose own references do not resolve counts as absent."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        value = node[name]
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException:
        return None


def _placeholders(values: Mapping[Any, Any], path: str) -> Iterator[str]:
    for name, value in values.items():
        if value == "???":
            yield f"{path}{name}"
        elif isinstance(value, Mapping):
            yield from _placeholders(value, f"{path}{name}.")


def _build(hint: Any, value: Any, path: str) -> Any:
    """Build the dataclasses of `hint` from plain data, children first; check errors carry the dotted path."""
    cls, element = section_class(hint), element_type(hint)
    if isinstance(value, list):
        return [_build(element, item, f"{path}{index}.") for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if cls is None:
        return {key: _build(element, item, f"{path}{key}.") for key, item in value.items()}
    values = {name: _build(sub, value[name], f"{path}{name}.") for name, sub in field_types(cls).items()}
    try:
        return cls(**values)
    except ConfigError as error:
        # A check of one section knows its class, not where it stands.
        raise ConfigError(_at_path(str(error), cls, path)) from error


def _at_path(message: str, cls: type, path: str) -> str:
    for name in (base.__name__ for base in cls.__mro__ if dataclasses.is_dataclass(base)):
        if message.startswith(f"{name}."):
            return path + message.removeprefix(f"{name}.")
    return message


def _type_error(error: Exception, config_cls: type) -> str:
    path = error.full_key or "the configuration"
    expected = _hint_at(config_cls, path.split("."))
    return f"{path}: expected {expected}: {_first_line(error)}; correct the value"


def _hint_at(config_cls: type, names: Iterable[str]) -> str:
    hint: Any = config_cls
    for name in names:
        section = section_class(hint)
        if section is None or name not in field_types(section):
            break
        hint = field_types(section)[name]
    return type_name(hint)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
