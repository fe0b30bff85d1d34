# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What changes nothing alone is tried at more values, and rules of choosing experts are seen on the tiny config."""

from areal.experimental.models.archon.scaffold.hf_model import build, random_tokens, trace
from areal.experimental.models.archon.scaffold.pipeline import config_class_of
from areal.experimental.models.archon.scaffold.sensitivity import Study
from areal.experimental.models.archon.scaffold.tiny_config import find_tiny


def study_of(model_type):
    base = find_tiny(config_class_of(model_type), lambda config: trace(build(config, 0), random_tokens(config, 0)), {})
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
