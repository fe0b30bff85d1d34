# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes in rules become names of the mixer's sizes."""

import pytest

from areal.experimental.models.archon.model_args import DecoderArgs, DeltaNetArgs, FeedForwardArgs, LayerArgs, NormArgs
from areal.experimental.models.archon.scaffold.adapter_source import rule_lines
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.rule_sizes import named_sizes
from areal.experimental.models.archon.weights.ops import GroupedSplit, Join
from areal.experimental.models.archon.weights.rules import Rule

NET = DeltaNetArgs(num_key_heads=2, num_value_heads=4, key_head_dim=8, value_head_dim=6, conv_kernel=3, norm=NormArgs())
LAYER = LayerArgs(mixer=NET, ffn=FeedForwardArgs(intermediate_size=8))
ARGS = DecoderArgs(vocab_size=8, hidden_size=8, layers=(LAYER,), final_norm=NormArgs(), max_positions=8)
QKV, Z = "layers.{i}.linear_attn.in_proj_qkv.weight", "layers.{i}.linear_attn.in_proj_z.weight"


def test_sizes_of_gated_delta_net_are_written_as_expressions_over_each_net():
    rules = [
        Rule((QKV, Z), ("a.{i}.qkvz",), GroupedSplit(2, ((16, 16, 24), (24,)))),
        Rule((QKV,), ("q", "k"), Join((16, 24))),
    ]
    lines, imports = rule_lines([named_sizes(rule, ARGS) for rule in rules], "archon", {})
    (line,) = [line for line in lines if "for net in nets" in line]
    keys, values = "net.num_key_heads * net.key_head_dim", "net.num_value_heads * net.value_head_dim"
    assert f"GroupedSplit(net.num_key_heads, (({keys}, {keys}, {values},),({values},)))" in line
    assert f'Rule(("{QKV}",), ("q", "k",), Join(({keys}, {values},)))' in line
    assert "from archon.model_args import DeltaNetArgs" in imports


def test_size_that_is_no_size_of_the_mixer_is_refused_with_the_tensor():
    with pytest.raises(Unexplained, match="qkvz is stored in parts of 3"):
        named_sizes(Rule((QKV, Z), ("qkvz",), GroupedSplit(3, None)), ARGS)
