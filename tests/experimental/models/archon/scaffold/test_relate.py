# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which fields must be set for a family to make sense of a config, and which options need not follow from it."""

from dataclasses import replace

from torch.nn import Module

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    ExpertArgs,
    FeedForwardArgs,
    LayerArgs,
    MoEArgs,
    RouterArgs,
    ScoreArgs,
)
from areal.experimental.models.archon.scaffold.explain import Choice, Leaf, Struct
from areal.experimental.models.archon.scaffold.pipeline import config_class_of
from areal.experimental.models.archon.scaffold.relate import (
    Family,
    _classify_fields,
    codes_that_need_values,
    with_one_group_rule,
    without_idle_groups,
)
from areal.experimental.models.archon.scaffold.sensitivity import FieldStudy, Study

MIXER = AttentionArgs(num_heads=2, num_kv_heads=2, head_dim=4, value_head_dim=4, score=ScoreArgs(scale=0.5))


def layer_of(**router):
    experts = ExpertArgs(intermediate_size=8)
    return LayerArgs(mixer=MIXER, ffn=MoEArgs(num_experts=8, top_k=2, router=RouterArgs(**router), experts=experts))


def test_routers_that_leave_no_group_out_get_the_rule_of_those_that_do():
    limiting = layer_of(num_groups=4, num_limited_groups=2, group_reduce="max", masked_score="zero")
    every, single = layer_of(num_groups=4, num_limited_groups=4), layer_of()
    got = [layer.ffn.router for layer in with_one_group_rule([limiting, every, single])]
    assert got == [
        replace(layer.ffn.router, group_reduce="max", masked_score="zero") for layer in (limiting, every, single)
    ]


def test_choice_among_all_groups_is_none_where_equal_switches_turn_groups_off():
    limiting, every = layer_of(num_groups=4, num_limited_groups=2), layer_of(num_groups=4, num_limited_groups=4)
    single = layer_of()
    got = without_idle_groups([single, every, limiting, every], ["greedy", "greedy", "limited", "limited"])
    assert got == [single, single, limiting, every]
    assert without_idle_groups([every], ["alone"]) == [every]


def test_rules_of_groups_that_differ_are_left_to_be_explained():
    layers = [layer_of(num_groups=4, num_limited_groups=2, group_reduce=reduce) for reduce in ("max", "top2_sum")] + [
        layer_of()
    ]
    assert with_one_group_rule(layers) == layers


def test_fields_of_one_mode_are_not_needed_always_but_those_of_some_layers_are():
    groups = Choice('hf("mode") == "greedy"', Leaf("1"), Leaf('hf("n_group")'))
    router = Struct(RouterArgs, {"num_groups": groups, "scale": Leaf('hf("factor")')})
    ffn = Choice(
        'i < hf("skip")', Leaf('hf("wide")'), Struct(MoEArgs, {"top_k": Leaf('hf("choices")'), "router": router})
    )
    needed = {'i < hf("skip")', *(f'hf("{name}")' for name in ("wide", "choices", "factor"))}  # None cannot be compared
    assert set(codes_that_need_values(ffn)) == needed


def test_option_that_may_be_none_needs_no_value_and_a_size_does():
    window = Choice('hf("kind") == "local"', Leaf('hf("window")'), Leaf("None"))
    score = Struct(ScoreArgs, {"scale": Leaf('hf("scale")'), "window": window, "softcap": Leaf('hf("cap")')})
    assert list(codes_that_need_values(score)) == ['hf("scale")']
    sizes = Choice('i < hf("wide")', Leaf('hf("wide_size")'), Leaf('hf("size")'))
    ffn = Struct(FeedForwardArgs, {"intermediate_size": sizes, "gated": Leaf("True")})
    assert list(codes_that_need_values(ffn)) == ['i < hf("wide")', 'hf("wide_size")', 'hf("size")', "True"]


def test_undeclared_size_of_one_value_must_be_set():
    base = config_class_of("qwen3_moe")(head_dim=16)
    study = Study(base, Module, 0)
    study.fields["head_dim"] = FieldStudy("head_dim", 16, has_influence=True, was_tried=True, unexplained=[(32, "")])
    family = Family({}, False, False, Leaf("None"), "num_hidden_layers", None, [])
    _classify_fields(study, family)
    assert family.expected == {"head_dim": [16]} and family.required == ["head_dim"]
