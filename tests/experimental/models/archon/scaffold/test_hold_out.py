# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A staged family is proven on configs that it was not written from: what it computes wrongly there is found."""

from dataclasses import replace
from typing import Any

from transformers import LlamaConfig

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.model_spec import ModelSpec, get_model_spec
from areal.experimental.models.archon.scaffold.hold_out import failures

OBSERVED = LlamaConfig(
    vocab_size=61, hidden_size=64, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4, head_dim=16
)


def spec_that(read: Any) -> ModelSpec:
    """Llama's, whose arguments of a config are `read(config, right arguments)`."""
    llama = get_model_spec("llama")

    class Args(llama.model_args_class):
        @classmethod
        def from_hf_config(cls, hf_config: Any, is_critic: bool = False) -> DecoderArgs:
            return read(hf_config, super().from_hf_config(hf_config, is_critic))

    return replace(llama, model_args_class=Args)


def with_scale_of_observed(config: LlamaConfig, args: DecoderArgs) -> DecoderArgs:
    """Right for heads as wide as those of `OBSERVED`."""
    layers = [
        replace(layer, mixer=replace(layer.mixer, score=replace(layer.mixer.score, scale=0.25)))
        for layer in args.layers
    ]
    return replace(args, layers=tuple(layers))


def refusing_other_heads(config: LlamaConfig, args: DecoderArgs) -> DecoderArgs:
    if config.head_dim != OBSERVED.head_dim:
        raise UnsupportedConfig("head_dim", "16", config.head_dim)
    return args


def test_family_that_is_right_passes() -> None:
    assert failures(get_model_spec("llama"), "llama", OBSERVED) == []


def test_constant_that_held_for_the_observed_sizes_only_is_found() -> None:
    wrong = failures(spec_that(with_scale_of_observed), "llama", OBSERVED)

    assert {"logits", "gradients"} <= {result.name for result in wrong}
    assert {result.config for result in wrong} == {"llama[1]"}  # the first has heads of the same width


def test_constant_whose_other_values_are_refused_is_no_fault() -> None:
    assert (
        failures(
            spec_that(lambda config, args: with_scale_of_observed(config, refusing_other_heads(config, args))),
            "llama",
            OBSERVED,
        )
        == []
    )


def test_type_whose_depth_has_a_name_of_its_own_holds_nothing_out():
    assert failures(get_model_spec("llama"), "gpt_neo", LlamaConfig()) == []
