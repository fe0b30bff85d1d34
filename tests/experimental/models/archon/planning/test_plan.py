# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import (
    AlibiArgs,
    AttentionArgs,
    DecoderArgs,
    ExpertArgs,
    FeedForwardArgs,
    LayerArgs,
    MoEArgs,
    NormArgs,
    RopeArgs,
    RouterArgs,
    ScoreArgs,
)
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.planning.activations import layer_activations
from areal.experimental.models.archon.planning.report import PlanInputs, make_plan, render
from areal.utils.errors import ConfigError

NORM = NormArgs(eps=1e-6)
ATTENTION = AttentionArgs(num_heads=8, num_kv_heads=4, head_dim=16, value_head_dim=16, score=ScoreArgs(scale=0.25))
FFN = FeedForwardArgs(intermediate_size=96)
MOE = MoEArgs(num_experts=8, top_k=2, router=RouterArgs(normalize=True), experts=ExpertArgs(intermediate_size=32))

NOPE = replace(ATTENTION, rope=None)
ALIBI = replace(NOPE, alibi=AlibiArgs())


def _layer(mixer: AttentionArgs, ffn: FeedForwardArgs | MoEArgs = FFN) -> LayerArgs:
    return LayerArgs(mixer=mixer, ffn=ffn, attention_norm=NORM, ffn_norm=NORM)


def decoder_args(num_layers: int = 4, moe: bool = False) -> DecoderArgs:
    layer = _layer(ATTENTION, MOE) if moe else _layer(ATTENTION)
    return DecoderArgs(
        vocab_size=256,
        hidden_size=64,
        layers=(layer,) * num_layers,
        final_norm=NORM,
        max_positions=512,
        ropes={"default": RopeArgs(theta=1e4, rotary_dim=16)},
    )


def num_parameters(args: DecoderArgs) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in ArchonModel(args).parameters())


INPUTS = PlanInputs(num_tokens=128, num_micro_batches=2)


def test_parameters_of_data_parallel_ranks_are_their_share_of_the_model() -> None:
    args = decoder_args()

    plan = make_plan(args, ArchonParallelDims(world_size=8), INPUTS, "archon:d8")

    assert plan.total_parameters == num_parameters(args)
    assert plan.ranks[0].parameters.local == num_parameters(args) // 8


def test_parameters_of_a_mixture_are_cut_by_expert_and_data_axes() -> None:
    args = decoder_args(moe=True)
    experts = 4 * 8 * 3 * 32 * 64

    held = make_plan(args, ArchonParallelDims(world_size=16, ep=8), INPUTS, "archon:d16e8").ranks[0].parameters

    assert held.local_experts == experts // 16
    # Vectors and small matrices have fewer rows than ranks: the first rank holds their first rows.
    dense = num_parameters(args) - experts
    assert dense / 16 <= held.local - held.local_experts <= dense / 16 * 1.1


def test_pipeline_ranks_hold_all_layers_once_and_the_first_keeps_most_micro_batches() -> None:
    args = decoder_args(num_layers=8)

    plan = make_plan(args, ArchonParallelDims(world_size=8, pp=4, tp=2), INPUTS, "archon:p4t2")

    assert sorted(layer for rank in plan.ranks for layer in rank.layers) == list(range(8))
    assert plan.total_parameters == num_parameters(args)
    assert plan.ranks[1].activations_bytes > plan.ranks[3].activations_bytes
    assert [rank.logits_bytes > 0 for rank in plan.ranks] == [False, False, False, True]


@pytest.mark.parametrize("moe", [False, True])
def test_activations_of_a_block_are_what_autograd_keeps(moe: bool) -> None:
    args = decoder_args(moe=moe)
    num_tokens = 512
    model = ArchonModel(args)
    model.init_weights()
    block = model.layers["0"]
    context = PackedContext.of(args, torch.tensor([0, 256, 512], dtype=torch.int32), 256)
    positions = torch.arange(256).repeat(2)
    x = torch.randn(num_tokens, 64, requires_grad=True)
    info = TokenInfo(positions, model.rope_tables(positions, x.dtype, context), context)
    kept: dict[int, int] = {}
    fixed = {p.untyped_storage().data_ptr() for p in model.parameters()}
    fixed |= {t.untyped_storage().data_ptr() for pair in info.ropes.values() for t in pair}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # The CPU kernel keeps attention weights, which fused attention does not.
        is_scores = tensor.ndim == 3 and tensor.shape[-1] >= 128
        if storage.data_ptr() not in fixed and not is_scores and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = block(x, info)

    estimate = layer_activations(args, 0, num_tokens, ArchonParallelDims()).kept
    assert output.shape == x.shape
    assert sum(kept.values()) == pytest.approx(estimate, rel=0.2)


def test_linear_biases_widen_what_context_parallel_ranks_exchange() -> None:
    plain, biased = (replace(decoder_args(), ropes={}, layers=(_layer(mixer),) * 4) for mixer in (NOPE, ALIBI))
    dims = ArchonParallelDims(world_size=2, cp=2)
    sent = []
    for args in (plain, biased):
        plan = make_plan(args, dims, replace(INPUTS, checkpointing="none"), "archon:d1c2")
        sent.append(sum(c.bytes_sent for c in plan.ranks[0].collectives if c.kind == "all_to_all"))
    # 3 channels of 8 + 4 heads on 64 rows, half of them sent, in 2 bytes; forward and backward, 2 micro-batches, 4 layers.
    assert sent[1] - sent[0] == 3 * 12 * 64 // 2 * 2 * 2 * 2 * 4


def test_layout_that_does_not_divide_says_which_constraint_with_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"key-value heads .* divisible by tp = 8, got 4"):
        make_plan(decoder_args(), ArchonParallelDims(world_size=8, tp=8), INPUTS, "archon:t8")


def test_plan_of_a_thousand_ranks_reads_as_tables() -> None:
    dims = ArchonParallelDims(world_size=1024, tp=4, ep=8, cp=2)
    args = decoder_args(moe=True)
    args = replace(args, layers=args.layers[:2])

    text = render(make_plan(args, dims, replace(INPUTS, checkpointing="full"), "archon:d128t4c2e8"))

    assert "1024 ranks" in text and "all_to_all" in text and "dp_shard_mod_ep" in text
