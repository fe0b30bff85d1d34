# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What generated tests ask can come out red, says which config and which number, and costs one proof a config."""

from dataclasses import replace

import pytest

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.proof import CHECKS, FamilyProof, family, two_rank_layouts

BASE = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
VARIANTS = {"other theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}}}
LLAMA = get_model_spec("llama")


def proof_of(spec):
    return FamilyProof(spec, "llama", base=BASE, variants=VARIANTS, seeds=(0, 1))


def llama_that_ignores_theta():
    class Wrong(LLAMA.model_args_class):
        @classmethod
        def from_hf_config(cls, hf_config, is_critic=False):
            args = super().from_hf_config(hf_config, is_critic)
            return replace(args, ropes={name: replace(rope, theta=10000.0) for name, rope in args.ropes.items()})

    return replace(LLAMA, model_args_class=Wrong)


def llama_without_a_rule():
    class Wrong(LLAMA.state_dict_adapter_class):
        def rules(self):
            return [rule for rule in super().rules() if "k_proj" not in rule.hf[0]]

    return replace(LLAMA, state_dict_adapter_class=Wrong)


def test_every_check_of_every_config_has_a_result_and_each_config_is_proven_once(monkeypatch):
    proven = []

    def prove(*args, label, **options):
        proven.append(label)
        return prove_config(*args, label=label, **options)

    prove_config = family.prove_config
    monkeypatch.setattr(family, "prove_config", prove)
    proof = proof_of(LLAMA)
    results = [proof.check(config, check) for config in proof.configs for check in CHECKS]
    assert all(result.passed for result in results)
    assert proven == proof.configs == ["base, seed 0", "base, seed 1", "other theta"]


def test_wrong_option_fails_on_the_config_that_shows_it_with_its_label_and_number():
    proof = proof_of(llama_that_ignores_theta())
    assert proof.check("base, seed 0", "logits").passed
    result = proof.check("other theta", "logits")
    assert not result.passed
    assert str(result).startswith("FAILED other theta logits ") and "(limit 1e-05)" in str(result)


def test_full_size_model_is_loaded_without_data_and_a_missing_rule_is_an_error():
    config = proof_of(LLAMA).whole({"num_hidden_layers": 2})
    loaded = proof_of(LLAMA).load_on_meta(config)
    assert loaded["layers.1.attention.wk.weight"].shape == (4096, 4096)
    assert {tensor.device.type for tensor in loaded.values()} == {"meta"}
    with pytest.raises(ValueError, match="wk"):
        proof_of(llama_without_a_rule()).load_on_meta(config)


def test_value_that_the_family_does_not_compute_is_not_read():
    proof = proof_of(LLAMA)
    with pytest.raises(UnsupportedConfig, match="hidden_act"):
        proof.read(proof.tiny({"hidden_act": "tanh"}))


def test_expert_layout_is_listed_for_models_with_experts_only():
    def layouts(model_type):
        proof = FamilyProof(get_model_spec(model_type), model_type, base={}, variants={})
        return two_rank_layouts(proof.read(proof.tiny({})))

    dense = [{"tp": 2}, {"cp": 2}, {"dp_shard": 2}, {"pp": 2}]
    assert layouts("llama") == dense
    assert [sizes for sizes in layouts("mixtral") if sizes not in dense] == [{"dp_shard": 2, "ep": 2}]
