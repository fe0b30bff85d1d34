# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary tables of configs without `rope_parameters`; sizes that a family would be understood at only once."""

from types import SimpleNamespace

import pytest
from transformers import AutoConfig

from areal.experimental.models.archon.scaffold.acceptance import expect_sizes
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import build, random_tokens, trace
from areal.experimental.models.archon.scaffold.observe import Observer
from areal.experimental.models.archon.scaffold.sensitivity import FieldStudy
from areal.experimental.models.archon.scaffold.tiny_config import tiny_config
from areal.experimental.models.archon.scaffold.verify import forward_error, ours_of


@pytest.mark.parametrize("width", [8, 16])
def test_table_with_a_constant_base_is_found_with_the_width_that_rotates(width):
    model = build(tiny_config(type(AutoConfig.for_model("gptj")), {"rotary_dim": width}), 0)
    record = trace(model, random_tokens(model.config, 0))
    found = Observer(record).observe()
    table = found.args.ropes["default"]
    assert (table.theta, table.rotary_dim, table.style) == (10000.0, width, "interleaved")
    assert forward_error(model, ours_of(found.args, found.tensors), record.tokens) < 1e-5


@pytest.mark.parametrize(("model_type", "is_reversed"), [("llama", False), ("nanochat", True)])
def test_share_of_the_head_that_a_model_ignores_is_seen_in_either_direction(model_type, is_reversed):
    config = tiny_config(type(AutoConfig.for_model(model_type)), {"num_attention_heads": 4})
    config.rope_parameters = {**config.rope_parameters, "partial_rotary_factor": 0.5}
    found = Observer(trace(build(config, 0), random_tokens(config, 0))).observe()
    table = found.args.ropes["default"]
    assert (table.rotary_dim, table.is_reversed) == (found.args.layers[0].mixer.head_dim, is_reversed)


def test_scaled_queries_are_a_scale_of_the_scores():
    model = build(tiny_config(type(AutoConfig.for_model("opt")), {}), 0)
    found = Observer(trace(model, random_tokens(model.config, 0))).observe()
    assert found.args.layers[0].mixer.score.scale == pytest.approx(16**-0.5, rel=1e-4)


def study_of(default):
    study = FieldStudy("n_head", 4, unexplained=[(8, "no reading")])
    return SimpleNamespace(default_of=lambda name: default, fields={"n_head": study})


def test_family_of_one_tiny_size_is_refused_with_the_field_and_the_reason():
    with pytest.raises(Unexplained, match=r"n_head: .*4 only.*16: no reading"):
        expect_sizes(study_of(16), {"n_head": [4]})


@pytest.mark.parametrize("default", [4, True, 1, None, 0.5])
def test_switches_counts_and_the_default_itself_are_no_such_sizes(default):
    expect_sizes(study_of(default), {"n_head": [4]})
