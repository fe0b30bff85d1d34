# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""An Archon decoder as the shared engine core drives it: packed micro-batches in, log-probs or values out; weights by HF name.

Made by `building`. Knows the decoder and its layout, nothing of losses or optimizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from areal.api.cli_args import ArchonEngineConfig
from areal.engine.core.model import Objective, PackedInputs
from areal.engine.core.sequential import SequentialModel
from areal.experimental.engine.experts import ExpertBalance
from areal.experimental.engine.stored import DecoderSetup, StoredWeights
from areal.experimental.engine.topology import ArchonTopology
from areal.experimental.models.archon.kernels.attention import choose_kernel, dense_attention
from areal.experimental.models.archon.model_args import AttentionArgs, DecoderArgs, MLAArgs
from areal.experimental.models.archon.modules.rope_frequencies import LENGTH_DEPENDENT
from areal.experimental.models.archon.parallel.gradients import clip_gradients
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.parallel.ulysses import gather_outputs, slice_inputs


class DecoderModel(SequentialModel):
    """The `PackedModel` of `ArchonEngine` without a pipeline: a `ScoringDecoder`, plain or parallel."""

    module: ScoringDecoder

    def __init__(
        self, module: ScoringDecoder, setup: DecoderSetup, config: ArchonEngineConfig, topology: ArchonTopology
    ) -> None:
        super().__init__(module, hidden_matrices(module), topology.device)
        self._weights = StoredWeights(module, setup, topology)
        self._experts = ExpertBalance([module], bool(setup.args.moe_layers), config, topology)
        self._setup = setup
        self._topology = topology
        can_share = can_share_prefixes(setup.args, topology.device.type, setup.compute_dtype)
        # Context-parallel ranks cut labels like tokens, which shared rows have fewer of.
        self._shares_prefixes = can_share and not topology.dims.cp_enabled and not setup.args.is_critic

    @property
    def num_parameters(self) -> int:
        """See `PackedModel`."""
        return self._weights.num_parameters

    @property
    def max_positions(self) -> int | None:
        """See `PackedModel`."""
        return self._setup.args.max_positions

    @property
    def shares_prefixes(self) -> bool:
        """See `SequentialModel`."""
        return self._shares_prefixes

    def pack(self, micro_batch: dict[str, Any], share_prefixes: bool, is_dummy: bool) -> PackedInputs:
        """See `SequentialModel`: the number of rows is one that tensor- and context-parallel ranks can divide."""
        inputs = pack_for_layout(micro_batch, self.device, share_prefixes, self._topology.dims.seq_len_divisor)
        return replace(inputs, num_real=0) if is_dummy else inputs

    def logprobs(self, inputs: PackedInputs, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        """See `SequentialModel`."""
        scores_1US = self._run(inputs, inputs.labels, temperature, with_entropy)
        scores_US = scores_1US.squeeze(0)
        return scores_US[:, 0], scores_US[:, 1] if with_entropy else None

    def outputs_of(
        self, inputs: PackedInputs, num_tokens: int, temperature: float, with_entropy: bool
    ) -> tuple[Tensor, ...]:
        """See `SequentialModel`; of a critic its values, float32."""
        if self._setup.args.is_critic:
            return (self._run(inputs, None, 1.0, False).flatten().float()[:num_tokens],)
        return super().outputs_of(inputs, num_tokens, temperature, with_entropy)

    def _run(self, inputs: PackedInputs, labels: Tensor | None, temperature: float, with_entropy: bool) -> Tensor:
        layout, dims = inputs.layout, self._topology.dims
        rows = [inputs.input_ids, layout.position_ids(), *([] if labels is None else [labels])]
        rows = [x.unsqueeze(0) for x in rows]
        if dims.cp_enabled:
            rows = [slice_inputs(x, dims.local_rank("cp"), dims.cp) for x in rows]
        outputs = self.module(
            rows[0],
            rows[1],
            layout.cu_seqlens,
            layout.max_seqlen,
            tree_attn_meta=layout,
            labels=None if labels is None else rows[2],
            temperature=temperature,
            with_entropy=with_entropy,
            chunk_size=self._setup.chunk_size,
            prediction_rows=inputs.prediction_rows,
            num_real=self._own_real_rows(inputs),
        )
        if not torch.is_grad_enabled():
            reshard_root(self.module)
        return gather_outputs(outputs, dims.get_group("cp")) if dims.cp_enabled else outputs

    def _own_real_rows(self, inputs: PackedInputs) -> int | None:
        """How many rows of this context-parallel rank are no padding."""
        dims = self._topology.dims
        if inputs.num_real is None or not dims.cp_enabled:
            return inputs.num_real
        return own_real_rows(inputs.num_real, len(inputs.input_ids) // dims.cp, dims.local_rank("cp"))

    def set_gradient_sync(self, is_last: bool) -> None:
        """See `SequentialModel`."""
        if isinstance(self.module, FSDPModule):
            self.module.set_requires_gradient_sync(is_last or not self._setup.defers_sync)

    def must_run_in_step(self) -> bool:
        """See `SequentialModel`."""
        return self._topology.world_size > 1

    def forward_backward(self, objective: Objective) -> Tensor:
        """See `PackedModel`."""
        if torch.is_grad_enabled():
            self._experts.prepare_step(objective.micro_batches)
        return super().forward_backward(objective)

    def clip_gradients(self, max_norm: float) -> float:
        """See `PackedModel`."""
        return clip_gradients(list(self.module.parameters()), max_norm, self._topology.dims)

    def finish_step(self, successful: bool) -> dict[str, float]:
        """See `PackedModel`."""
        return self._experts.finish_step(successful)

    def state_iter(self) -> Iterator[tuple[str, Tensor]]:
        """See `PackedModel`."""
        return self._weights.items()

    def load_hf(self, path: str) -> None:
        """See `PackedModel`."""
        self._weights.load(path)

    def save_hf_configs(self, folder: Path) -> None:
        """See `PackedModel`."""
        self._weights.save_configs(folder)


def hidden_matrices(module: nn.Module) -> set[str]:
    """Names of the 2-D parameters of blocks."""
    return {name for name, p in module.named_parameters() if name.startswith("layers.") and p.ndim == 2}


def pack_for_layout(
    micro_batch: dict[str, Any], device: torch.device, share_prefixes: bool, divisor: int
) -> PackedInputs:
    """The packed inputs, with a sequence of zeros behind them that makes their number of rows a multiple of `divisor`."""
    inputs = PackedInputs.of(micro_batch, device, share_prefixes)
    if not (missing := -len(inputs.input_ids) % divisor):
        return inputs
    cu_seqlens = micro_batch["cu_seqlens"]
    padding = micro_batch["input_ids"].new_zeros(missing)
    padded = {
        "input_ids": torch.cat((micro_batch["input_ids"], padding)),
        "cu_seqlens": torch.cat((cu_seqlens, cu_seqlens[-1:] + missing)),
    }
    inputs = PackedInputs.of(padded, device, share_prefixes)
    if len(inputs.input_ids) % divisor:  # the zeros found a prefix to share
        return pack_for_layout(micro_batch, device, False, divisor)
    return replace(inputs, num_real=len(inputs.input_ids) - missing)


def own_real_rows(num_real: int, num_own: int, rank: int) -> int:
    """Of `num_real` rows in front, how many lie in chunk `rank` of chunks of `num_own` rows."""
    return min(max(num_real - rank * num_own, 0), num_own)


def can_share_prefixes(args: DecoderArgs, device_type: str, dtype: torch.dtype) -> bool:
    """Whether a group's prompt may be computed once: only our dense kernel knows shared rows, and only for some needs."""
    if any(rope.kind in LENGTH_DEPENDENT for rope in args.ropes.values()):
        return False
    mixers = [layer.mixer for layer in args.layers if isinstance(layer.mixer, AttentionArgs | MLAArgs)]
    kernels = {choose_kernel(mixer.score, _head_dim(mixer), device_type, dtype, False) for mixer in mixers}
    return kernels <= {dense_attention} and all(mixer.score.chunk is None for mixer in mixers)


def _head_dim(mixer: AttentionArgs | MLAArgs) -> int:
    if isinstance(mixer, MLAArgs):
        return max(mixer.nope_head_dim + mixer.rope_head_dim, mixer.value_head_dim)
    return max(mixer.qk_width, mixer.value_head_dim)


def reshard_root(module: ScoringDecoder) -> None:
    """After a forward without backward: FSDP leaves the root's parameters gathered, which breaks loading into them."""
    if isinstance(module, FSDPModule):
        module.reshard()
