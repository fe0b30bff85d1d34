# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from transformers import DeepseekV2Config, LlamaConfig

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.hf_fields import HFFields, reading


def test_field_that_nobody_read_must_hold_its_default():
    with pytest.raises(UnsupportedConfig, match="rms_norm_eps must be 1e-06"), reading(LlamaConfig(rms_norm_eps=0.5)):
        pass
    with reading(LlamaConfig(rms_norm_eps=0.5)) as hf:
        assert hf("rms_norm_eps") == 0.5


def test_field_of_no_class_must_be_off():
    for value in (None, False, 0, [], {}):
        with reading(LlamaConfig(use_new_idea=value)):
            pass
    with reading(LlamaConfig(moe_layer_freq=1, new_scale=1.0)):
        pass
    for field in ({"use_new_idea": True}, {"num_new_layers": 1}, {"moe_layer_freq": 2}):
        with (
            pytest.raises(UnsupportedConfig, match=f"{next(iter(field))} must be absent"),
            reading(LlamaConfig(**field)),
        ):
            pass


def test_field_without_influence_may_have_any_value():
    with reading(LlamaConfig(bos_token_id=7, initializer_range=0.5, use_cache=False)):
        pass


def test_dropout_is_refused_unless_zero():
    with reading(LlamaConfig(attention_dropout=0.0)):
        pass
    with pytest.raises(UnsupportedConfig, match="disable_dropout"), reading(LlamaConfig(attention_dropout=0.1)):
        pass


def test_required_field_that_is_absent_is_named():
    with pytest.raises(UnsupportedConfig) as error:
        HFFields(LlamaConfig())("num_experts")
    assert error.value.field == "num_experts"


def test_expected_values_are_listed_when_another_one_comes():
    fields = HFFields(LlamaConfig(hidden_act="gelu"))
    with pytest.raises(UnsupportedConfig, match="'silu' or 'swish', got 'gelu'"):
        fields.expect("hidden_act", "silu", "swish")


def test_first_of_several_names_is_the_one_the_config_has():
    fields = HFFields(LlamaConfig())
    assert fields.first("num_experts", "num_hidden_layers") == LlamaConfig().num_hidden_layers


def test_field_that_the_class_leaves_open_must_be_set():
    with pytest.raises(UnsupportedConfig, match=r"num_experts_per_tok.*set"), reading(DeepseekV2Config()) as hf:
        hf.require("num_experts_per_tok")
