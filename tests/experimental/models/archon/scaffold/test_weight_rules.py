# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Layouts of checkpoints are found by their values."""

import pytest
import torch

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.weight_rules import infer_rules
from areal.experimental.models.archon.weights.map import WeightMap
from areal.experimental.models.archon.weights.ops import (
    Chain,
    GroupedSplit,
    Interleave,
    Join,
    Split,
    Stack,
    Transpose,
    Unsqueeze,
)
from areal.experimental.models.archon.weights.rules import rename, split

LAYERS = "model.blocks"


def ours_of(*names_and_shapes):
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in names_and_shapes}


def test_renamed_tensor_of_each_layer_becomes_one_rule_for_weight_and_bias():
    ours = ours_of(("layers.0.attention.wq.weight", (4, 3)), ("layers.1.attention.wq.weight", (4, 3)))
    hf = {name.replace("layers", LAYERS).replace("attention.wq", "attn.query"): t for name, t in ours.items()}
    assert infer_rules(ours, hf) == [rename("layers.{i}.attention.wq.{p}", "model.blocks.{i}.attn.query.{p}")]


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (Split(0), ((4, 3), (6, 3))),
        (Split(1), ((2, 4, 3), (2, 4, 3))),
        (Interleave(0), ((4, 3), (4, 3))),
        (GroupedSplit(2), ((8, 3), (4, 3), (4, 3))),
        (GroupedSplit(2, ((4, 4, 6), (6,))), ((14, 3), (6, 3))),
    ],
    ids=str,
)
def test_fused_tensor_is_taken_apart_by_the_op_that_made_it(op, shapes):
    ours = ours_of(*((f"part_{n}", shape) for n, shape in enumerate(shapes)))
    hf = {"fused": op.to_hf(list(ours.values()))[0]}
    (rule,) = infer_rules(ours, hf)
    assert rule == split(tuple(ours), "fused", op)


def test_experts_stored_one_by_one_become_a_stack_and_read_back():
    ours = ours_of(("layers.0.moe.experts.w1", (3, 4, 2)), ("layers.0.moe.experts.w2", (3, 2, 4)))
    hf = {f"{LAYERS}.0.mlp.experts.{e}.up.weight": t for e, t in enumerate(ours["layers.0.moe.experts.w1"])}
    hf[f"{LAYERS}.0.mlp.experts.down"] = ours["layers.0.moe.experts.w2"].transpose(1, 2).contiguous()
    rules = infer_rules(ours, hf)
    assert rename("layers.{i}.moe.experts.w1", "model.blocks.{i}.mlp.experts.{e}.up.weight", Stack()) in rules
    assert rename("layers.{i}.moe.experts.w2", "model.blocks.{i}.mlp.experts.down", Transpose(1, 2)) in rules
    back = WeightMap(rules, {name: tuple(t.shape) for name, t in ours.items()}).from_hf(hf)
    assert all(torch.equal(back[name], t) for name, t in ours.items())


def test_tensor_that_nothing_reads_is_an_error_with_its_name():
    ours = ours_of(("norm.weight", (4,)))
    with pytest.raises(Unexplained, match="extra"):
        infer_rules(ours, {"norm.weight": ours["norm.weight"], "extra.weight": torch.randn(4)})


def test_bias_is_split_on_its_own_where_the_matrix_is_transposed_first():
    parts = {f"layers.0.attention.{n}": torch.randn(4, 4) for n in ("wq.weight", "wk.weight", "wv.weight")}
    biases = {name.replace("weight", "bias"): torch.randn(4) for name in parts}
    hf = {"h.0.c_attn.weight": torch.cat(list(parts.values())).T, "h.0.c_attn.bias": torch.cat(list(biases.values()))}
    rules = infer_rules({**parts, **biases}, hf)
    ours = WeightMap(rules, {n: tuple(t.shape) for n, t in {**parts, **biases}.items()}).from_hf(hf)
    assert all(torch.equal(ours[name], t) for name, t in {**parts, **biases}.items())


def test_tensors_that_ours_joins_become_one_rule_with_their_rows():
    ours = ours_of(("layers.0.linear_attn.in_proj_qkv.weight", (7, 3)), ("layers.0.linear_attn.conv1d.weight", (7, 2)))
    projection, conv = ours.values()
    hf = {f"{LAYERS}.0.{name}_proj": t for name, t in zip("qkv", projection.split((2, 2, 3)))}
    hf |= {f"{LAYERS}.0.{name}_conv": t[:, None] for name, t in zip("qkv", conv.split((2, 2, 3)))}
    rules = infer_rules(ours, hf)
    assert [rule.op for rule in rules] == [Join((2, 2, 3)), Chain((Join((2, 2, 3)), Unsqueeze(1)))]
    back = WeightMap(rules, {name: tuple(t.shape) for name, t in ours.items()}).from_hf(hf)
    assert all(torch.equal(back[name], t) for name, t in ours.items())
