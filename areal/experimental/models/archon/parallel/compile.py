# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Compilation of blocks with torch.compile, after checkpointing and before FSDP.

Not the modules but their `forward`s are compiled: names stay, and hooks (FSDP's, the gathers of tensor parallelism around a
layer) run outside. Whatever depends on lengths of sequences or counts of rows stays eager, or each batch would be compiled anew:
contexts, and in blocks with experts everything but the mixer and the shared experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.contexts.protocol import MixingContext
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import ScoreArgs
from areal.experimental.models.archon.moe.moe import MoE
from areal.experimental.models.archon.parallel.activation import CheckpointedBlock
from areal.experimental.models.archon.parallel.plan import mixer_of


def apply_compile(model: ArchonModel) -> None:
    """Compile what is worth it in each block, in place; compilation happens at the first forward."""
    for block in model.layers.values():
        mixer = mixer_of(block)
        mixer.layer = _LayerKey(mixer.layer)  # type: ignore[assignment, arg-type]
        for module in _compiled_modules(block):
            # An attribute of the instance: calls go through the hooks of the module, then here. Inside of checkpointing, which
            # compilers give up where something in it stays eager.
            if isinstance(module, CheckpointedBlock):
                module.compute = torch.compile(module.compute)
            else:
                module.forward = torch.compile(module.forward)
    make_context = model.make_context

    def make_eager_context(cu_seqlens: Tensor, max_seqlen: int, tree_attn_meta: Any) -> EagerContext:
        return EagerContext(make_context(cu_seqlens, max_seqlen, tree_attn_meta))

    model.make_context = make_eager_context


def is_compiled(model: ArchonModel) -> bool:
    """Whether `apply_compile` was applied."""
    return any(not {"forward", "compute"}.isdisjoint(module.__dict__) for module in model.modules())


def _compiled_modules(block: nn.Module) -> list[nn.Module]:
    moe = block._modules.get("moe")
    if moe is None:
        return [block]
    assert isinstance(moe, MoE)
    return [mixer_of(block), *([] if moe.shared_experts is None else [moe.shared_experts])]


@dataclass(frozen=True)
class _LayerKey:
    """A mixer's index where compilers do not read it: code compiled for the number 7 would serve layer 7 alone, and from the
    ninth layer on torch would compile no more."""

    index: int


class EagerContext:
    """A `MixingContext` that compilers do not look into; it takes the `_LayerKey`s that `apply_compile` puts in mixers."""

    def __init__(self, inner: MixingContext) -> None:
        self.inner = inner

    @torch.compiler.disable
    def attend(
        self, layer: _LayerKey, q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """See `MixingContext`."""
        return self.inner.attend(layer.index, q_NHD, k_NKD, v_NKW, score, sinks_H)

    @torch.compiler.disable
    def convolve(self, layer: _LayerKey, x_NC: Tensor, weight_CS: Tensor) -> Tensor:
        """See `MixingContext`."""
        return self.inner.convolve(layer.index, x_NC, weight_CS)

    @torch.compiler.disable
    def delta_rule(
        self, layer: _LayerKey, q_NHD: Tensor, k_NHD: Tensor, v_NHW: Tensor, log_decay_NH: Tensor, beta_NH: Tensor
    ) -> Tensor:
        """See `MixingContext`."""
        return self.inner.delta_rule(layer.index, q_NHD, k_NHD, v_NHW, log_decay_NH, beta_NH)

    def sequence_lengths(self) -> Tensor:
        """See `MixingContext`."""
        return self.inner.sequence_lengths()
