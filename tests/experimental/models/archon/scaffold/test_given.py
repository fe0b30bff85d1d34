# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny copy of a config keeps its choices and none of its sizes; what is not computed is laid to the right field."""

import pytest
from transformers import AutoConfig

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.given import deviations, observe, unread_fields, without_dropout
from areal.experimental.models.archon.scaffold.hf_model import build
from areal.experimental.models.archon.scaffold.pipeline import discover
from areal.experimental.models.archon.scaffold.sensitivity import Study
from areal.experimental.models.archon.scaffold.tiny_config import tiny_config


def config_of(model_type, **fields):
    return AutoConfig.for_model(model_type, **fields)


@pytest.mark.parametrize(
    ("model_type", "fields", "expected"),
    [
        ("olmo", {"hidden_size": 1024, "num_hidden_layers": 3, "clip_qkv": 8.0, "vocab_size": 7}, {}),
        ("olmo", {"attention_bias": True, "hidden_act": "gelu"}, {"attention_bias": True, "hidden_act": "gelu"}),
        ("olmo", {"attention_dropout": 0.1, "bos_token_id": 3}, {}),
        ("mistral", {"sliding_window": None}, {"sliding_window": None}),
        ("stablelm", {"num_key_value_heads": 8}, {}),
        ("granitemoehybrid", {"hidden_size": 2560, "mamba_n_heads": 80}, {}),  # the class derives mamba_d_head
        ("granitemoehybrid", {"num_local_experts": 0}, {"num_local_experts": 0}),
    ],
)
def test_deviations_are_choices_with_values_of_tiny_models(model_type, fields, expected):
    assert deviations(config_of(model_type, **fields), 16) == expected


def test_field_that_only_the_model_reads_is_a_size_like_others():
    assert "head_dim" not in type(config_of("qwen3_moe"))().to_dict()
    assert deviations(config_of("qwen3_moe", head_dim=128), 16) == {"head_dim": 16}
    assert tiny_config(type(config_of("qwen3_moe")), {}).head_dim == 16


def test_descriptions_for_other_programs_are_kept_at_their_values():
    fields = {"max_window_layers": 48, "scoring_func": "softmax", "attn_output_gate": True}
    off = {"moe_layer_freq": 1, "use_mla": False}
    assert unread_fields(config_of("qwen3_moe", head_dim=128, **fields, **off)) == fields


@pytest.mark.parametrize("field", [{"logit_scale": 2.0}, {"attention_window": 64}, {"use_alibi": True}])
def test_field_that_asks_for_a_computation_that_hf_ignores_is_refused(field):
    with pytest.raises(Unexplained, match=f"{next(iter(field))}: must be absent, since .*its model ignores it"):
        unread_fields(config_of("qwen3_moe", **field))


def test_lists_of_layers_become_lists_of_tiny_depth_with_all_kinds():
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    found = deviations(config_of("qwen3", num_hidden_layers=6, layer_types=kinds), 16)
    assert found["layer_types"] == ["sliding_attention", "full_attention"] * 2


def test_rotary_lengths_and_factors_are_cut_to_the_tiny_model():
    scaling = {"rope_type": "longrope", "short_factor": [1.0] * 64, "long_factor": [2.0] * 64, "rope_theta": 5e5}
    config = config_of("llama", rope_parameters={**scaling, "original_max_position_embeddings": 4096})
    table = deviations(config, 16)["rope_parameters"]
    assert len(table["short_factor"]) == len(table["long_factor"]) == 8
    assert table["original_max_position_embeddings"] == 16 and table["rope_theta"] == 5e5
    assert len(config.rope_parameters["short_factor"]) == 64


def test_model_that_is_not_explained_is_laid_to_the_field_that_makes_it_so():
    base = tiny_config(type(config_of("olmo")), {})
    study = Study(base, type(build(base, 0)), 0)
    study.begin()
    tiny = tiny_config(type(base), {"attention_bias": True, "hidden_act": "mish", "tie_word_embeddings": True})
    with pytest.raises(Unexplained, match="follows from hidden_act='mish'") as caught:
        observe(study, tiny)
    assert caught.value.details["fields"] == {"hidden_act": "mish"}


def test_dropout_is_set_to_zero_in_a_copy_and_reported():
    config = config_of("olmo", attention_dropout=0.1)
    plain, dropped = without_dropout(config)
    assert (plain.attention_dropout, config.attention_dropout, dropped) == (0.0, 0.1, {"attention_dropout": 0.1})


@pytest.mark.slow
def test_config_that_was_asked_for_is_among_the_generated_tests_and_in_the_expressions():
    asked = config_of("olmo", clip_qkv=8.0, attention_bias=True, tie_word_embeddings=True, hidden_size=1024)
    found = discover("olmo", "olmo", "olmo", lambda text: None, asked)
    assert found.variants["config that was asked for"]["attention_bias"] is True
    assert 'clip_qkv = hf("clip_qkv")' in found.files()["model/args.py"].replace("hf('", 'hf("')
