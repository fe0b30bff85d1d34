# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Products of dense projections in 8-bit floating point (Micikevicius et al. 2022), through torchao. First step of all.

Roles choose: what COLUMN and ROW name (projections of attention, short convolutions and feed-forwards). Never embeddings,
heads, routers, critics' scores, low-rank and DeltaNet projections, nor experts. A converted layer has the same parameters under
the same names, so that masters, checkpoints and exports do not change; its operands are rounded, with scales of their own, when
they are multiplied. Conversion comes before parameters are cut, while torchao can still read them; that what a rank will hold
fits is checked here nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import nn
from torch.distributed.tensor import Shard

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.plan import ModulePlan, plan_modules
from areal.experimental.models.archon.roles import Role
from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger

logger = getLogger("archon_parallel")

Recipe = Literal["tensorwise", "rowwise", "rowwise_with_gw_hp"]
Convert = Callable[[ArchonModel, frozenset[str]], None]

# Each dimension of a weight is the inner one of a product (that of the output, or of the input's gradient), which 8-bit hardware
# reads in units of 16 bytes.
_MULTIPLE = 16
# Ada; the first generation with 8-bit floating point products.
_LEAST_CAPABILITY = (8, 9)


@dataclass(frozen=True, kw_only=True)
class Fp8Config:
    """Which products are 8-bit.

    recipe: torchao's: one scale a tensor; one a row; one a row, and the gradient of weights in bfloat16.
    exclude: parts of names (`w2`, `layers.0`) of layers that stay as they are.
    emulate: round operands but multiply in float32, on any device.
    """

    recipe: Recipe = "rowwise"
    exclude: tuple[str, ...] = ()
    emulate: bool = False

    def __post_init__(self) -> None:
        if self.recipe not in get_args(Recipe):
            raise ConfigError(f"expected an fp8 recipe of {', '.join(get_args(Recipe))}, got {self.recipe!r}")


def apply_fp8(model: ArchonModel, dims: ArchonParallelDims, config: Fp8Config, param_dtype: torch.dtype) -> None:
    """Replace the projections that take part by torchao's, in place; `ConfigError` for what no hardware would compute."""
    if param_dtype != torch.bfloat16:
        raise ConfigError(f"expected dtype bfloat16 with fp8, got {param_dtype}; set dtype=bfloat16 or switch fp8 off")
    if not config.emulate:
        _check_device(dims.device_type)
    names = eligible_projections(model, dims, config.exclude)
    _converter(config)(model, names)
    logger.info("fp8 (%s) in %d projections: %s", config.recipe, len(names), ", ".join(sorted(names)) or "none")


def eligible_projections(model: ArchonModel, dims: ArchonParallelDims, exclude: tuple[str, ...]) -> frozenset[str]:
    """Names of the layers to convert. Odd dimensions of a whole layer leave it out, odd ones of a rank's part are an error."""
    names = {module: name for name, module in model.named_modules()}
    eligible = set()
    for plan in plan_modules(model, dims.tp):
        if not isinstance(plan.module, nn.Linear) or plan.role not in (Role.COLUMN, Role.ROW):
            continue
        name = names[plan.module]
        if not any(_is_part(part, name) for part in exclude) and _fits(plan.module.weight.shape):
            _check_part(name, plan, dims.tp)
            eligible.add(name)
    return frozenset(eligible)


def _is_part(part: str, name: str) -> bool:
    return f".{part}." in f".{name}."


def _fits(shape: tuple[int, ...]) -> bool:
    return all(size % _MULTIPLE == 0 for size in shape)


def _check_part(name: str, plan: ModulePlan, num_ranks: int) -> None:
    whole = list(plan.module.weight.shape)
    placement = plan.parameters["weight"].placement
    part = list(whole)
    if isinstance(placement, Shard):
        part[placement.dim] //= num_ranks
    if not _fits(tuple(part)):
        raise ConfigError(
            f"expected both dimensions of an fp8 projection's part on a rank to be multiples of {_MULTIPLE}, got {part} of "
            f"{whole} for {name} with tp = {num_ranks}; lower tp or exclude it (fp8_config.exclude_modules)"
        )


def _check_device(device_type: str) -> None:
    need = "expected a GPU with 8-bit floating point (CUDA capability 8.9 or later) for fp8"
    fix = "set fp8_config.mode=disabled, or fp8_config.emulate=true to see its accuracy"
    if device_type != "cuda":
        raise ConfigError(f"{need}, got device {device_type}; {fix}")
    major, minor = torch.cuda.get_device_capability()
    if (major, minor) < _LEAST_CAPABILITY:
        raise ConfigError(f"{need}, got {torch.cuda.get_device_name()} of capability {major}.{minor}; {fix}")


def _converter(config: Fp8Config) -> Convert:
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    except ImportError as error:
        raise ConfigError(
            f"expected the package torchao for fp8, got {error}; run `pip install 'areal[fp8]'` or set fp8_config.mode=disabled"
        ) from error
    # The gradient of a weight sums over tokens, whose number is that of a packed micro-batch: torchao pads it to the multiple.
    options = replace(Float8LinearConfig.from_recipe_name(config.recipe), pad_inner_dim=True, emulate=config.emulate)

    def convert(model: ArchonModel, names: frozenset[str]) -> None:
        convert_to_float8_training(model, module_filter_fn=lambda _, name: name in names, config=options)

    return convert
