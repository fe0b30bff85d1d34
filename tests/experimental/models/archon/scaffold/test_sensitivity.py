# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What changes nothing alone is tried at more values, and rules of choosing experts are seen on the tiny config."""

import pytest

from areal.experimental.models.archon.scaffold.combinations import is_idle_in_proportion
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import build, random_tokens, trace
from areal.experimental.models.archon.scaffold.pipeline import config_class_of
from areal.experimental.models.archon.scaffold.rope_study import study_ropes
from areal.experimental.models.archon.scaffold.sensitivity import FieldStudy, Study
from areal.experimental.models.archon.scaffold.tiny_config import changed, find_tiny


def study_of(model_type, **fields):
    base = find_tiny(
        config_class_of(model_type), lambda config: trace(build(config, 0), random_tokens(config, 0)), fields
    )
    return Study(base, type(build(base, 0)), 0)


def test_limit_of_groups_has_an_influence_on_the_tiny_model():
    study = study_of("deepseek_v2")
    list(study._around(study.base, {}, ["topk_method"]))
    assert study.fields["topk_method"].explained == ["group_limited_greedy"]
    router = study.samples[-1].observation.args.layers[-1].ffn.router
    assert (router.num_groups, router.num_limited_groups, router.group_reduce) == (4, 2, "max")


def test_upper_bound_beyond_which_nothing_changes_is_seen_below():
    study = study_of("ernie4_5_moe")
    list(study._around(study.base, {}, ["moe_layer_end_index"]))
    assert study.fields["moe_layer_end_index"].has_influence
    assert 6 in study.fields["moe_layer_end_index"].idle


def test_sizes_of_layers_that_are_not_there_change_nothing_together():
    study = study_of("granitemoehybrid", layer_types=["full_attention"] * 4)
    study.begin()
    names = ["mamba_d_head", "mamba_n_heads", "mamba_expand", "num_attention_heads"]
    list(study._around(study.base, {}, names))
    assert [is_idle_in_proportion(study, name, [n for n in names if n != name]) for name in names] == [True] * 3 + [
        False
    ]


def test_switch_that_is_none_is_tried_at_the_words_that_the_source_compares_it_with():
    study = study_of("granitemoehybrid", layer_types=["full_attention"] * 4)
    study.begin()
    list(study._around(study.base, {}, ["position_embedding_type"]))
    assert not study.samples[0].observation.args.ropes and study.samples[1].observation.args.ropes
    study_ropes(study)
    assert {s.changes.get("position_embedding_type") for s in study.samples[2:]} == {"rope"}


@pytest.mark.parametrize(("model_type", "is_kept"), [("stablelm", False), ("gpt_neox", False), ("qwen3_moe", True)])
def test_undeclared_size_is_studied_only_where_the_model_takes_others(model_type, is_kept):
    study = study_of(model_type)
    assert "head_dim" in study.base.to_dict()
    study.begin()
    assert ("head_dim" in study.base.to_dict()) is is_kept


def test_value_equals_the_base_where_it_changed_nothing_in_every_mode_in_which_others_did():
    field = FieldStudy("norms", None, idle=[3, 2, 1, 2], idle_in={"{}": [3, 2, 1], "new": [2]}, active_in={"new"})
    assert field.equal_to_base == [2]


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_shared_experts_of_no_width_are_a_value_that_is_not_computed():
    study = study_of("glm4_moe")
    study.begin()
    list(study._around(study.base, {}, ["n_shared_experts"]))
    known = study.fields["n_shared_experts"]
    assert known.explained
    assert all("is empty" in reason for value, reason in known.unexplained if value == 0)
    with pytest.raises(Unexplained, match=r"shared_experts\.gate_proj: its weight is empty, \(0, 64\)"):
        study.sample(changed(study.base, n_shared_experts=0), {"n_shared_experts": 0})
