# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""An Archon decoder as the shared engine core drives it: packed micro-batches in, log-probs or values out; weights by HF name.

Made by `building`. Knows the decoder and its layout, nothing of losses or optimizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedConfig

from areal.engine.core.model import PackedInputs
from areal.engine.core.sequential import SequentialModel
from areal.experimental.engine.hf_files import save_hf_configs, weight_directory
from areal.experimental.engine.topology import ArchonTopology
from areal.experimental.engine.weights import full_tensor, iterate_hf_weights, load_weights
from areal.experimental.models.archon.kernels.attention import choose_kernel, dense_attention
from areal.experimental.models.archon.model_args import AttentionArgs, DecoderArgs, MLAArgs
from areal.experimental.models.archon.modules.rope_frequencies import LENGTH_DEPENDENT
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.parallel.ulysses import gather_outputs, slice_inputs
from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.utils.errors import ArealError

MAX_UNSHARDED_GRAD_BYTES = 2 << 30
"""Gradients of several micro-batches are added up unsharded and reduced once when they fit into this much memory a rank."""


@dataclass(frozen=True, kw_only=True)
class DecoderSetup:
    """What a model was built from."""

    args: DecoderArgs
    adapter: StateDictAdapter
    hf_config: PreTrainedConfig
    path: str
    compute_dtype: torch.dtype
    chunk_size: int
    defers_sync: bool


class DecoderModel(SequentialModel):
    """The `PackedModel` of `ArchonEngine` without a pipeline: a `ScoringDecoder`, plain or parallel."""

    module: ScoringDecoder

    def __init__(self, module: ScoringDecoder, setup: DecoderSetup, topology: ArchonTopology) -> None:
        matrices = {name for name, p in module.named_parameters() if name.startswith("layers.") and p.ndim == 2}
        super().__init__(module, matrices, topology.device, setup.args.is_critic)
        self._setup = setup
        self._topology = topology
        can_share = can_share_prefixes(setup.args, topology.device.type, setup.compute_dtype)
        # Context-parallel ranks cut labels like tokens, which shared rows have fewer of.
        self._shares_prefixes = can_share and not topology.dims.cp_enabled

    @property
    def max_positions(self) -> int | None:
        """See `PackedModel`."""
        return self._setup.args.max_positions

    @property
    def shares_prefixes(self) -> bool:
        """See `SequentialModel`."""
        return self._shares_prefixes

    def pack(self, micro_batch: dict[str, Any], share_prefixes: bool) -> PackedInputs:
        """See `SequentialModel`: the number of rows is one that tensor- and context-parallel ranks can divide."""
        return pack_for_layout(micro_batch, self.device, share_prefixes, self._topology.dims.seq_len_divisor)

    def logprobs(self, inputs: PackedInputs, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        """See `SequentialModel`."""
        scores_1US = self._run(inputs, inputs.labels, temperature, with_entropy)
        scores_US = scores_1US.squeeze(0)
        return scores_US[:, 0], scores_US[:, 1] if with_entropy else None

    def values(self, inputs: PackedInputs) -> Tensor:
        """See `SequentialModel`."""
        return self._run(inputs, None, 1.0, False).flatten().float()

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
        )
        if not torch.is_grad_enabled():
            reshard_root(self.module)
        return gather_outputs(outputs, dims.get_group("cp")) if dims.cp_enabled else outputs

    def set_gradient_sync(self, is_last: bool) -> None:
        """See `SequentialModel`."""
        if isinstance(self.module, FSDPModule):
            self.module.set_requires_gradient_sync(is_last or not self._setup.defers_sync)

    def must_run_in_step(self) -> bool:
        """See `SequentialModel`."""
        return self._topology.world_size > 1

    def state_iter(self) -> Iterator[tuple[str, Tensor]]:
        """See `PackedModel`."""
        state = self.module.state_dict()
        exact = frozenset(name for name, _ in self.module.named_buffers())
        return iterate_hf_weights(
            self._setup.adapter, lambda name: full_tensor(state[name]), self._setup.compute_dtype, exact
        )

    def load_hf(self, path: str) -> None:
        """See `PackedModel`: every rank reads the files and keeps its shards."""
        error = None
        try:
            load_weights(self.module.state_dict(), self._setup.adapter, weight_directory(path))
        except (ArealError, OSError, ValueError, RuntimeError) as failure:
            error = failure
        self._topology.raise_together(error)

    def save_hf_configs(self, folder: Path) -> None:
        """See `PackedModel`."""
        setup = self._setup
        save_hf_configs(setup.hf_config, setup.path, setup.args.is_critic, setup.compute_dtype, folder)


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
    return inputs


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
    return max(mixer.head_dim, mixer.value_head_dim)


def reshard_root(module: ScoringDecoder) -> None:
    """After a forward without backward: FSDP leaves the root's parameters gathered, which breaks loading into them."""
    if isinstance(module, FSDPModule):
        module.reshard()
