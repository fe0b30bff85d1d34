# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What an optimizer step owes to mixtures of experts: auxiliary losses before it, selection biases and statistics after it.

Held by the models that the engine core drives; does nothing for dense ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from areal.api.cli_args import ArchonEngineConfig
from areal.experimental.engine.topology import ArchonTopology
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.moe.balance import set_router_dtype, set_router_losses, update_expert_biases
from areal.experimental.models.archon.moe.losses import RouterLosses
from areal.experimental.models.archon.moe.moe import moe_layers
from areal.utils.data import MicroBatchList

_ROUTER_DTYPES = {"float32": torch.float32, None: None}


class ExpertBalance:
    """Balancing of the experts of all stages of this rank; `has_experts` is that of the whole model."""

    def __init__(
        self, models: Sequence[ArchonModel], has_experts: bool, config: ArchonEngineConfig, topology: ArchonTopology
    ) -> None:
        self._models = models
        self._has_experts = has_experts
        self._config = config
        self._topology = topology
        for model in models:
            set_router_dtype(model, _ROUTER_DTYPES[config.moe_router_dtype])

    def prepare_step(self, micro_batches: MicroBatchList) -> None:
        """Weigh the auxiliary losses by the tokens of the step. Collective if there are any."""
        config = self._config
        if not self._has_experts or not (config.moe_aux_loss_coeff or config.moe_z_loss_coeff):
            return
        count = torch.tensor(sum(micro_batches.group_lens), device=self._topology.device)
        losses = RouterLosses(
            load_balance=config.moe_aux_loss_coeff,
            z_loss=config.moe_z_loss_coeff,
            num_tokens=self._topology.sum_over_data(count),
        )
        for model in self._models:
            set_router_losses(model, losses)

    def finish_step(self, successful: bool) -> dict[str, float]:
        """Move selection biases against the load of the step (not after a skipped one); mean statistics of all layers."""
        if not self._has_experts:
            return {}
        rate = self._config.moe_bias_update_rate if successful else 0.0
        weighted: dict[str, Tensor] = {}
        num_layers = 0
        for model in self._models:
            layers = len(moe_layers(model))
            num_layers += layers
            for name, value in update_expert_biases(model, rate, self._sum_over_tokens).items():
                weighted[name] = weighted.get(name, torch.zeros_like(value)) + layers * value
        return self._mean_over_stages(weighted, num_layers)

    def _sum_over_tokens(self, counts: Tensor) -> Tensor:
        """Over all ranks of a stage: tensor-parallel ones route different tokens, too."""
        if self._topology.world_size > 1:
            for axis in ("dp_shard_cp", "tp"):
                dist.all_reduce(counts, group=self._topology.dims.get_group(axis))
        return counts

    def _mean_over_stages(self, weighted: dict[str, Tensor], num_layers: int) -> dict[str, float]:
        values = [*(float(value) for value in weighted.values()), float(num_layers)]
        rows = [(list(weighted), values)]
        if self._topology.dims.pp_enabled:
            rows = [([], [])] * self._topology.dims.pp
            dist.all_gather_object(rows, (list(weighted), values), group=self._topology.dims.get_group("pp"))
        names = next((names for names, _ in rows if names), [])
        total = sum(values[-1] for _, values in rows)
        sums = [sum(values[i] for stage_names, values in rows if stage_names) for i in range(len(names))]
        return {name: value / total for name, value in zip(names, sums, strict=True)}
