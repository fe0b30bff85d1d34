# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Turns an `ArchonModel`, whole or one pipeline stage, into its part of a parallel layout: the only way in for engines.

The order is fixed: fp8 replaces modules while they are whole, TP and EP cut them, CP the context, activation checkpointing and
compilation must see those, and FSDP must see final parameters. It matches the `ParallelizeFn` protocol, so that a family's
`infra/parallelize.py` can be this function. Must never look at which family a model belongs to.
"""

from __future__ import annotations

import torch

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.parallel.activation import (
    ActivationCheckpointConfig,
    apply_activation_checkpointing,
)
from areal.experimental.models.archon.parallel.compile import apply_compile
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.expert import apply_expert_parallel
from areal.experimental.models.archon.parallel.fp8 import Fp8Config, apply_fp8
from areal.experimental.models.archon.parallel.fsdp import ReshardPolicy, apply_fsdp, needs_fsdp
from areal.experimental.models.archon.parallel.plan import cuts_vocabulary
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.parallel.tensor import apply_tensor_parallel, gather_logits
from areal.experimental.models.archon.parallel.ulysses import apply_context_parallel
from areal.experimental.models.archon.parallel.validate import check_layout
from areal.utils.logging import getLogger

logger = getLogger("archon_parallel")


def parallelize_decoder(
    model: ArchonModel,
    parallel_dims: ArchonParallelDims,
    param_dtype: torch.dtype = torch.bfloat16,
    reduce_dtype: torch.dtype = torch.float32,
    loss_parallel: bool = True,
    cpu_offload: bool = False,
    reshard_after_forward_policy: ReshardPolicy = "default",
    ac_config: ActivationCheckpointConfig | None = None,
    enable_compile: bool = False,
    fp8_config: Fp8Config | None = None,
) -> ArchonModel:
    """Parallelise a model in place and return it. Collective over all ranks.

    Args:
        model: on the meta device, or with the same whole weights on every rank, in the dtype of the master weights.
        parallel_dims: the layout.
        param_dtype: dtype of computation and of gathered parameters.
        reduce_dtype: dtype in which gradients are reduced.
        loss_parallel: leave logits cut over the vocabulary; False: `head` gathers them.
        cpu_offload: keep parameters, gradients and optimizer state in host memory.
        reshard_after_forward_policy: whether blocks give up gathered parameters between forward and backward.
        ac_config: which activations are recomputed; None: none.
        enable_compile: compile blocks.
        fp8_config: which products are 8-bit; None: none.
    """
    check_layout(model.args, parallel_dims)
    if fp8_config is not None:
        apply_fp8(model, parallel_dims, fp8_config, param_dtype)
    if parallel_dims.tp_enabled:
        mesh = parallel_dims.get_mesh("tp")
        apply_tensor_parallel(model, mesh)
        is_vocabulary_cut = cuts_vocabulary(model.args, mesh.size())
        if not is_vocabulary_cut:
            size = model.args.vocab_size
            logger.warning(
                "vocab_size %d is not divisible by tp = %d: embedding and head are whole on each rank",
                size,
                mesh.size(),
            )
        elif not loss_parallel:
            gather_logits(model, mesh)
        if isinstance(model, ScoringDecoder):
            model.tp_group = mesh.get_group()
            model.vocab_group = mesh.get_group() if is_vocabulary_cut else None
    apply_expert_parallel(model, parallel_dims)
    if parallel_dims.cp_enabled:
        apply_context_parallel(model, parallel_dims.get_group("cp"))
    if ac_config is not None:
        apply_activation_checkpointing(model, ac_config, enable_compile)
    if enable_compile:
        apply_compile(model)
    if needs_fsdp(model, parallel_dims, param_dtype, cpu_offload):
        apply_fsdp(model, parallel_dims, param_dtype, reduce_dtype, cpu_offload, reshard_after_forward_policy)
    return model
