# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises queries whose scale grows with their position (llama4, ministral3), and what is left of the rotation without it.

Parameters are pairs of numbers of the config; only tried where no plain rotation explains the scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from areal.experimental.models.archon.model_args import QueryTemperatureArgs
from areal.experimental.models.archon.scaffold.dataflow import same
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.rotary import FittedRope, fit_rope


def fit_rope_and_temperature(
    config: PreTrainedConfig, where: str, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], layer_kind: str
) -> tuple[FittedRope, QueryTemperatureArgs | None, float]:
    """The rotation, the temperature of queries (None: there is none) and the factor that turn (q, k) into others."""
    try:
        return fit_rope(config, where, before, after, layer_kind), None, 1.0
    except Unexplained as error:
        # A rotation keeps lengths, up to the factor of its table.
        grown = after[0].norm(dim=(1, 2)) / before[0].norm(dim=(1, 2))
        if (factor := _constant(grown)) is not None and _constant(
            after[1].norm(dim=(1, 2)) / before[1].norm(dim=(1, 2))
        ):
            try:  # families that scale their queries before the product
                return fit_rope(config, where, before, (after[0] / factor, after[1]), layer_kind), None, factor
            except Unexplained:
                raise error from None
        for args in _candidates(config):
            by_position = temperature(args, after[0].shape[0])
            if bool((by_position == 1.0).all()) or not same(by_position, grown / grown[0], 1e-4):
                continue
            try:
                queries = after[0] / by_position[:, None, None]
                return fit_rope(config, where, before, (queries, after[1]), layer_kind, only_known=True), args, 1.0
            except Unexplained:
                continue
        raise error


def _constant(values: Tensor) -> float | None:
    """The value that all of these have."""
    mean = float(values.double().mean())
    return mean if same(values, torch.full_like(values, mean), 1e-5) else None


def temperature(args: QueryTemperatureArgs, length: int) -> Tensor:
    """The factor of each position's query."""
    steps = torch.floor((torch.arange(length).float() + args.offset) / args.floor_scale)
    return 1.0 + args.beta * torch.log1p(steps)


def _candidates(config: PreTrainedConfig) -> Iterator[QueryTemperatureArgs]:
    fields = config.to_dict()
    parameters = fields.get("rope_parameters") or {}
    numbers = [
        v for v in (*fields.values(), *parameters.values()) if isinstance(v, int | float) and not isinstance(v, bool)
    ]
    betas = sorted({float(v) for v in numbers if 0 < v < 2})
    floors = sorted({float(v) for v in numbers if 1 < v < 64})
    for beta, floor, offset in itertools.product(betas, floors, (0.0, 1.0)):
        yield QueryTemperatureArgs(beta=beta, floor_scale=floor, offset=offset)
