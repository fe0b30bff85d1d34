# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Names of tensors that depend on the layout of the block, and groups that are a constant."""

from dataclasses import replace

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    FeedForwardArgs,
    LayerArgs,
    NormArgs,
    ScoreArgs,
)
from areal.experimental.models.archon.scaffold.adapter_source import rule_lines
from areal.experimental.models.archon.scaffold.rule_conditions import conditions
from areal.experimental.models.archon.scaffold.rule_sizes import named_in_all
from areal.experimental.models.archon.weights.ops import GroupedSplit
from areal.experimental.models.archon.weights.rules import Rule, rename

NORM = NormArgs()


def layer(num_heads=4, **options):
    mixer = AttentionArgs(
        num_heads=num_heads, num_kv_heads=num_heads, head_dim=8, value_head_dim=8, score=ScoreArgs(scale=1.0)
    )
    return LayerArgs(mixer=mixer, ffn=FeedForwardArgs(intermediate_size=8), attention_norm=NORM, **options)


def decoder(block):
    return DecoderArgs(vocab_size=8, hidden_size=8, layers=(block,), final_norm=NORM, max_positions=8)


def test_name_that_only_parallel_blocks_have_is_written_for_them_alone():
    apart, beside = (rename("layers.{i}.ffn_norm.{p}", f"h.{{i}}.{name}.{{p}}") for name in ("post_norm", "ln_mlp"))
    everywhere = rename("norm.{p}", "ln_f.{p}")
    found = [(layer(ffn_norm=NORM), [everywhere, apart]), (layer(parallel=True, ffn_norm=NORM), [everywhere, beside])]
    chosen = conditions(found)
    assert chosen == {apart: "not {layer}.parallel", beside: "{layer}.parallel"}
    lines, _ = rule_lines([everywhere, apart, beside], "archon", chosen)
    expected = (
        '*((rename("layers.{i}.ffn_norm.{p}", "h.{i}.ln_mlp.{p}"),) if self.model_args.layers[0].parallel else ())'
    )
    assert expected in lines
    assert 'rename("norm.{p}", "ln_f.{p}")' in lines


def test_groups_of_all_models_that_are_no_heads_of_one_are_a_constant():
    rule = Rule(("wq", "wv", "wk"), ("qkv",), GroupedSplit(4))
    ours = tuple(f"layers.{{i}}.attention.{name}.weight" for name in rule.ours)
    rule = replace(rule, ours=ours)
    named = named_in_all([(decoder(layer(4)), [rule]), (decoder(layer(8)), [rule])])
    assert named == [[rule], [rule]]
    lines, _ = rule_lines(named[0], "archon", {})
    assert any("GroupedSplit(4)" in line for line in lines)


def test_groups_that_follow_the_heads_are_named_after_them():
    rule = Rule(("layers.{i}.attention.wq.weight",), ("qkv",), GroupedSplit(4))
    other = replace(rule, op=GroupedSplit(8))
    (first,), (second,) = named_in_all([(decoder(layer(4)), [rule]), (decoder(layer(8)), [other])])
    assert first == second
    lines, _ = rule_lines([first], "archon", {})
    assert any("GroupedSplit(mixer.num_kv_heads)" in line for line in lines)
