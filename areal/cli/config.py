# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal config check FILE [key=value ...]`: load a configuration as a driver would, and print the plan of the run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from areal.api.alloc_mode import ModelAllocation, check_backend_available
from areal.api.cli_args import BaseExperimentConfig, GRPOConfig, PPOConfig, SFTConfig, describe_plan, load_expr_config
from areal.utils.dynamic_import import import_from_string
from areal.utils.errors import ConfigError

_CLASSES = {"GRPO": GRPOConfig, "PPO": PPOConfig, "SFT": SFTConfig}


def main(argv: Sequence[str]) -> int:
    """Check one file: 0 when it would run; `ConfigError` tells why it would not."""
    parser = argparse.ArgumentParser(prog="areal config", description=__doc__, allow_abbrev=False)
    check = parser.add_subparsers(metavar="ACTION", required=True).add_parser("check", help="load and print the plan")
    check.add_argument("file", help="the YAML file")
    check.add_argument(
        "--cls", default="GRPO", help=f"{', '.join(_CLASSES)} or package.module:Class (default: %(default)s)"
    )
    check.usage = "areal config check [-h] [--cls CLS] FILE [key=value ...]"
    args, overrides = parser.parse_known_args(list(argv))

    config, _ = load_expr_config(["--config", args.file, *overrides], config_class(args.cls))
    _check_engines(config)
    print(describe_plan(config))
    return 0


def config_class(name: str) -> type[BaseExperimentConfig]:
    """The config class of `--cls`: a short name, or `package.module:Class`."""
    if name in _CLASSES:
        return _CLASSES[name]
    try:
        found = import_from_string(name)
    except ConfigError as error:
        raise ConfigError(
            f"--cls: expected {', '.join(_CLASSES)} or package.module:Class, got {name!r} ({error}); correct the name"
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseExperimentConfig)):
        raise ConfigError(f"--cls: expected a class derived from BaseExperimentConfig, got {name!r}")
    return found


def _check_engines(config: BaseExperimentConfig) -> None:
    """Whether this release has the engines; the GPUs of the machine that will run it are not known here."""
    backends = []
    if isinstance(config, PPOConfig | SFTConfig):
        backends.append(config.actor.backend)
    if isinstance(config, PPOConfig):
        backends.append(config.rollout.backend)
    for backend in backends:
        check_backend_available(ModelAllocation.from_str(backend), num_gpus=0)
