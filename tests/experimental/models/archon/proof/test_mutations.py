# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The proof can fail: a family with one option or one rule wrong does not pass it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from areal.experimental.models.archon.model_args import DecoderArgs, LayerArgs
from areal.experimental.models.archon.model_spec import ModelSpec, get_model_spec
from areal.experimental.models.archon.proof import CHECKS, prove_config, tiny_configs
from areal.experimental.models.archon.weights.ops import Interleave, Transpose
from areal.experimental.models.archon.weights.rules import Rule, rename

Change = Callable[[DecoderArgs], DecoderArgs]


def spec_with(base: ModelSpec, change: Change) -> ModelSpec:
    class Wrong(base.model_args_class):
        @classmethod
        def from_hf_config(cls, hf_config: Any, is_critic: bool = False) -> DecoderArgs:
            return change(super().from_hf_config(hf_config, is_critic))

    return replace(base, model_args_class=Wrong)


def on_layers(change: Callable[[LayerArgs], LayerArgs]) -> Change:
    return lambda args: replace(args, layers=tuple(map(change, args.layers)))


def on_norms(**options: Any) -> Change:
    def change(layer: LayerArgs) -> LayerArgs:
        names = ("attention_norm", "attention_post_norm", "ffn_norm", "ffn_post_norm")
        norms = {name: vars(layer)[name] for name in names if vars(layer)[name] is not None}
        return replace(layer, **{name: replace(norm, **options) for name, norm in norms.items()})

    return on_layers(change)


def on_score(change: Callable[[Any], Any]) -> Change:
    return on_layers(lambda layer: replace(layer, mixer=replace(layer.mixer, score=change(layer.mixer.score))))


def on_ropes(**options: Any) -> Change:
    return lambda args: replace(args, ropes={name: replace(rope, **options) for name, rope in args.ropes.items()})


def on_moe(change: Callable[[Any], Any]) -> Change:
    return on_layers(lambda layer: replace(layer, ffn=change(layer.ffn)) if "router" in vars(layer.ffn) else layer)


def on_router(**options: Any) -> Change:
    return on_moe(lambda moe: replace(moe, router=replace(moe.router, **options)))


def swapped_ropes(args: DecoderArgs) -> DecoderArgs:
    return replace(args, ropes=dict(zip(args.ropes, reversed(args.ropes.values()), strict=True)))


WRONG_OPTIONS: dict[str, tuple[str, Change]] = {
    "epsilon": ("qwen3", on_norms(eps=1e-2)),
    "norm weights around one": ("qwen3", on_norms(offset=1.0)),
    "norm weights around zero": ("gemma2", on_norms(offset=0.0)),
    "scale of scores": ("qwen3", on_score(lambda score: replace(score, scale=score.scale * 2**0.5))),
    "window off by one": ("mistral", on_score(lambda score: replace(score, window=score.window + 1))),
    "no window": ("mistral", on_score(lambda score: replace(score, window=None))),
    "no soft cap": ("gemma2", on_score(lambda score: replace(score, softcap=None))),
    "theta": ("qwen3", on_ropes(theta=20000.0)),
    "pairs of rope": ("qwen3", on_ropes(style="interleaved")),
    "kind of rope": ("llama", on_ropes(kind="default")),
    "tables of layer types": ("gemma3_text", swapped_ropes),
    "width of rope": ("glm", on_ropes(rotary_dim=16)),
    "query norm behind rope": (
        "qwen3",
        on_layers(
            lambda layer: replace(
                layer, mixer=replace(layer.mixer, qk_norm=replace(layer.mixer.qk_norm, after_rope=True))
            )
        ),
    ),
    "gate and activation": (
        "llama",
        on_layers(lambda layer: replace(layer, ffn=replace(layer.ffn, activation="gelu"))),
    ),
    "no residual scale": ("granite", on_layers(lambda layer: replace(layer, residual_scale=1.0))),
    "no embedding scale": ("gemma2", lambda args: replace(args, embedding=replace(args.embedding, scale=1.0))),
    "no logit scale": ("granite", lambda args: replace(args, head=replace(args.head, scale=1.0))),
    "no logit cap": ("gemma3_text", lambda args: replace(args, head=replace(args.head, softcap=None))),
    "not normalised router": ("mixtral", on_router(normalize=False)),
    "router score": ("mixtral", on_router(score="sigmoid")),
    "number of groups": ("deepseek_v3", on_router(num_groups=1, num_limited_groups=1)),
    "reduction of groups": ("deepseek_v3", on_router(group_reduce="max")),
    "scale of experts": ("deepseek_v3", on_router(scale=1.0)),
    "number of choices": ("qwen3_moe", on_moe(lambda moe: replace(moe, top_k=1))),
    "order of softmax": ("gpt_oss", on_router(score="softmax")),
    "limit of experts": ("gpt_oss", on_moe(lambda moe: replace(moe, experts=replace(moe.experts, clamp=7.0)))),
    "slope of experts": ("gpt_oss", on_moe(lambda moe: replace(moe, experts=replace(moe.experts, alpha=1.0)))),
}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_proof_of_a_wrong_option_fails(name):
    model_type, change = WRONG_OPTIONS[name]
    right = get_model_spec(model_type)
    config = tiny_configs(model_type)[0]
    checks = {"logits": CHECKS["logits"]}
    (result,) = prove_config(spec_with(right, change), config, checks=checks)
    assert result.measured is not None and result.measured > result.limit, str(result)


def without(hf_name: str) -> Callable[[list[Rule]], list[Rule]]:
    return lambda rules: [rule for rule in rules if hf_name not in rule.hf[0]]


def swapped(first: str, second: str) -> Callable[[list[Rule]], list[Rule]]:
    def change(rules: list[Rule]) -> list[Rule]:
        names = {first: second, second: first}
        return [replace(rule, hf=tuple(_renamed(hf, names) for hf in rule.hf)) for rule in rules]

    return change


def _renamed(hf_name: str, names: dict[str, str]) -> str:
    return next((hf_name.replace(old, new) for old, new in names.items() if old in hf_name), hf_name)


def with_op(hf_name: str, op: Any) -> Callable[[list[Rule]], list[Rule]]:
    return lambda rules: [replace(rule, op=op) if hf_name in rule.hf[0] else rule for rule in rules]


WRONG_RULES: dict[str, tuple[str, Callable[[list[Rule]], list[Rule]]]] = {
    "gate and up swapped": ("llama", swapped("gate_proj", "up_proj")),
    "norms swapped": ("llama", swapped("input_layernorm", "post_attention_layernorm")),
    "no rule for a tensor": ("llama", without("k_proj")),
    "no rule for a bias": ("glm4_moe", without("e_score_correction_bias")),
    "square matrix transposed": ("llama", with_op("self_attn.q_proj", Transpose(0, 1))),
    "columns not interleaved": ("gpt_oss", with_op("gate_up_proj_bias", None)),
    "rows interleaved": ("phi3", with_op("gate_up_proj", Interleave(0))),
    "rule that renames a tensor": (
        "qwen2",
        lambda rules: [rename("norm.{p}", "model.final_norm.{p}"), *rules],
    ),
}


@pytest.mark.parametrize("name", WRONG_RULES)
def test_proof_of_a_wrong_rule_fails(name):
    model_type, change = WRONG_RULES[name]
    right = get_model_spec(model_type)

    class Wrong(right.state_dict_adapter_class):
        def rules(self) -> list[Rule]:
            return change(list(super().rules()))

    checks = {check: CHECKS[check] for check in ("completeness", "round trip", "logits", "reload")}
    spec = replace(right, state_dict_adapter_class=Wrong)
    results = prove_config(spec, tiny_configs(model_type)[0], checks=checks)
    assert any(not result.passed for result in results)


def test_failed_check_says_what_was_measured_and_the_limit():
    spec = spec_with(get_model_spec("qwen3"), on_ropes(theta=20000.0))
    (result,) = prove_config(spec, tiny_configs("qwen3")[0], label="qwen3[0]", checks={"logits": CHECKS["logits"]})
    assert result.measured is not None and result.measured > result.limit
    assert str(result).startswith("FAILED qwen3[0] logits ")


def test_check_that_raises_has_failed_with_the_error_and_the_others_still_run():
    spec = spec_with(get_model_spec("qwen3"), lambda args: replace(args, vocab_size=7))
    results = prove_config(
        spec, tiny_configs("qwen3")[0], checks={name: CHECKS[name] for name in ("completeness", "args")}
    )
    assert [result.passed for result in results] == [False, False]
    assert results[0].detail.startswith("CheckpointError: expected")
