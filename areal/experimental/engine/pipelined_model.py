# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""An Archon decoder in pipeline stages, as the shared engine core drives it: all micro-batches of a step go through together.

Made by `building`. Scores exist on the rank of the last stage: losses are computed there, and everything that every rank
has to know is broadcast from it. Micro-batches are padded to one length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from areal.api.cli_args import ArchonEngineConfig, MicroBatchSpec
from areal.engine.core.model import Objective, PackedInputs
from areal.experimental.engine.decoder_model import hidden_matrices, own_real_rows, reshard_root
from areal.experimental.engine.experts import ExpertBalance
from areal.experimental.engine.stored import DecoderSetup, StoredWeights
from areal.experimental.engine.topology import ArchonTopology
from areal.experimental.models.archon.parallel.gradients import clip_gradients
from areal.experimental.models.archon.parallel.pipeline import PipelineRunner, StageInputs, pad_inputs
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.parallel.tied import TiedMatrix
from areal.experimental.models.archon.parallel.ulysses import gather_outputs, slice_inputs
from areal.utils.data import MicroBatchList

LENGTH_STEP = 64
"""Micro-batches are padded to multiples of this many tokens: every new length costs the building of a schedule, 0.1 s."""


class MergedStages(nn.Module):
    """The modules of all stages of a rank under the names that they have in the whole model. Has no forward."""

    def __init__(self, stages: Sequence[ScoringDecoder]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for stage in stages:
            self.layers.update(stage.layers)
            for name, child in stage.named_children():
                if name not in ("layers", "ropes"):  # ropes hold nothing that is stored
                    self.add_module(name, child)


class PipelinedModel:
    """The `PackedModel` of `ArchonEngine` with a pipeline."""

    def __init__(
        self,
        stages: Sequence[ScoringDecoder],
        runner: PipelineRunner,
        setup: DecoderSetup,
        config: ArchonEngineConfig,
        topology: ArchonTopology,
    ) -> None:
        self.module: nn.Module = MergedStages(stages)
        self.hidden_matrices = hidden_matrices(self.module)
        self._stages = stages
        self._runner = runner
        self._setup = setup
        self._topology = topology
        self._weights = StoredWeights(self.module, setup, topology)
        self._tied = TiedMatrix.of(stages, runner.last_rank, topology.dims)
        self._experts = ExpertBalance(stages, bool(setup.args.moe_layers), config, topology)

    @property
    def num_parameters(self) -> int:
        """See `PackedModel`."""
        return self._weights.num_parameters

    @property
    def max_positions(self) -> int | None:
        """See `PackedModel`."""
        return self._setup.args.max_positions

    def micro_batch_spec(self, spec: MicroBatchSpec) -> MicroBatchSpec:
        """See `PackedModel`: a number of micro-batches that the schedule takes and that keeps all stages busy."""
        pp = self._topology.dims.pp
        num_mbs = self._runner.num_micro_batches(max(spec.n_mbs or 1, pp))
        is_any = self._runner.num_micro_batches(num_mbs + 1) == num_mbs + 1
        divisor = spec.n_mbs_divisor if is_any else math.lcm(spec.n_mbs_divisor, pp)
        return MicroBatchSpec.new(spec, n_mbs=num_mbs, n_mbs_divisor=divisor)

    def forward_backward(self, objective: Objective) -> Tensor:
        """See `PackedModel`."""
        has_backward = torch.is_grad_enabled()
        if has_backward:
            self._experts.prepare_step(objective.micro_batches)
        total = torch.zeros((), dtype=torch.float64, device=self._topology.device)
        mbs = list(objective.micro_batches)
        packed = [PackedInputs.of(mb, self._topology.device) for mb in mbs]
        weights = objective.weights.tolist()

        def loss_of(position: int, scores: Tensor) -> Tensor:
            outputs = self._outputs(packed[position], scores)
            weight = weights[position]
            if weight == 0.0:
                return outputs[0].sum() * 0.0
            scaled = objective.loss_fn(*outputs, mbs[position]) * (weight / objective.total_weight)
            total.add_(scaled.detach())
            return scaled

        is_dummy = [objective.micro_batches.is_dummy(position) for position in range(len(mbs))]
        packed = [replace(x, num_real=0 if dummy else len(x.input_ids)) for x, dummy in zip(packed, is_dummy)]
        inputs = self._stage_inputs(packed, objective.temperature, with_entropy=True)
        self._run(inputs, loss_of, has_backward)
        return self._from_last_stage(total)

    def forward(self, micro_batches: MicroBatchList, temperature: float) -> list[Tensor]:
        """See `PackedModel`."""
        packed = [PackedInputs.of(mb, self._topology.device) for mb in micro_batches]
        lengths = [len(inputs.input_ids) for inputs in packed]
        found = [torch.zeros(length, device=self._topology.device) for length in lengths]

        def keep(position: int, scores: Tensor) -> Tensor:
            found[position].copy_(self._outputs(packed[position], scores)[0])
            return scores.new_zeros(())

        self._run(self._stage_inputs(packed, temperature, with_entropy=False), keep, has_backward=False)
        outputs = self._from_last_stage(torch.cat(found)).cpu().split(lengths)
        return list(outputs[: len(lengths) - micro_batches.num_dummies])

    def _run(self, inputs: list[StageInputs], score_fn: Any, has_backward: bool) -> None:
        self._runner.run(inputs, score_fn, has_backward)
        if not has_backward:
            for stage in self._stages:
                reshard_root(stage)

    def _stage_inputs(self, packed: list[PackedInputs], temperature: float, with_entropy: bool) -> list[StageInputs]:
        """What the stages get of each micro-batch: all of one length, this context-parallel rank's tokens."""
        dims = self._topology.dims
        step = math.lcm(LENGTH_STEP, dims.seq_len_divisor)
        length = -(-max(len(inputs.input_ids) for inputs in packed) // step) * step
        padded = [
            pad_inputs(
                StageInputs(
                    tokens=inputs.input_ids.unsqueeze(0),
                    positions=inputs.layout.position_ids().unsqueeze(0),
                    labels=inputs.labels.unsqueeze(0),
                    cu_seqlens=inputs.layout.cu_seqlens,
                    max_seqlen=inputs.layout.max_seqlen,
                    temperature=temperature,
                    with_entropy=with_entropy,
                    num_real=inputs.num_real,
                ),
                length,
            )
            for inputs in packed
        ]
        if not dims.cp_enabled:
            return padded
        rank = dims.local_rank("cp")

        def own(x: Tensor) -> Tensor:
            return slice_inputs(x, rank, dims.cp)

        sliced = [replace(x, tokens=own(x.tokens), positions=own(x.positions), labels=own(x.labels)) for x in padded]
        return [
            x if x.num_real is None else replace(x, num_real=own_real_rows(x.num_real, length // dims.cp, rank))
            for x in sliced
        ]

    def _outputs(self, inputs: PackedInputs, scores: Tensor) -> tuple[Tensor, ...]:
        """What a loss gets before the micro-batch: see `SequentialModel.outputs_of`."""
        dims = self._topology.dims
        if dims.cp_enabled:
            scores = gather_outputs(scores, dims.get_group("cp"))
        columns_NS = scores.squeeze(0)[: len(inputs.input_ids)].float()
        if self._setup.args.is_critic:
            return (columns_NS[:, 0],)
        logprobs = columns_NS[:, 0].masked_fill(~inputs.has_label, 0.0)
        return (logprobs,) if columns_NS.shape[1] == 1 else (logprobs, columns_NS[:, 1])

    def _from_last_stage(self, tensor: Tensor) -> Tensor:
        dist.broadcast(tensor, group_src=self._runner.last_rank, group=self._topology.dims.get_group("pp"))
        return tensor

    def clip_gradients(self, max_norm: float) -> float:
        """See `PackedModel`."""
        repeated = []
        if self._tied is not None:
            self._tied.sum_gradients()
            repeated = [self._tied.matrix] * self._tied.is_repeated
        return clip_gradients(list(self.module.parameters()), max_norm, self._topology.dims, repeated)

    def finish_step(self, successful: bool) -> dict[str, float]:
        """See `PackedModel`."""
        return self._experts.finish_step(successful)

    def merge_stats(self, stats: dict[str, float]) -> dict[str, float]:
        """See `PackedModel`: the rank of the last stage records what the others do, and losses."""
        dims = self._topology.dims
        found: list[dict[str, float]] = [{} for _ in range(dims.pp)]
        dist.all_gather_object(found, stats, group=dims.get_group("pp"))
        return found[self._runner.last_rank]

    def state_iter(self) -> Iterator[tuple[str, Tensor]]:
        """See `PackedModel`."""
        return self._weights.items()

    def load_hf(self, path: str) -> None:
        """See `PackedModel`."""
        self._weights.load(path)

    def save_hf_configs(self, folder: Path) -> None:
        """See `PackedModel`."""
        self._weights.save_configs(folder)
