# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from areal.models.hf_model import model_class_of
from areal.models.packed_attention import hf
from areal.models.packed_attention.hf import AttentionNeeds, choose_attention
from areal.models.packed_attention.layout import PackedLayout
from areal.models.packed_lm import PLAIN_HEAD_FAMILIES, PackedLM, verify_packing
from areal.utils.errors import ConfigError

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
SMALL_HEADS = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4}
EXTRA: dict[str, dict[str, Any]] = {
    "qwen2_moe": {**MOE, "shared_expert_intermediate_size": 24},
    "qwen3_moe": {**MOE, "head_dim": 8},
    "mixtral": {"num_local_experts": 4},
    "mistral": {"sliding_window": 4},
    "gemma": {"head_dim": 8},
    "gemma2": SMALL_HEADS,
    "gemma3_text": SMALL_HEADS,
    "gpt_oss": {"head_dim": 8, "num_local_experts": 4},
}
# Scaled, capped or multiplied logits, learned positions, layers of several windows, LayerNorm and biases.
OTHER_FAMILIES = ["cohere", "cohere2", "gemma2", "gemma3_text", "glm4", "gpt2", "gpt_neox", "granite", "olmo3", "phi"]


def tiny_family(model_type: str) -> PreTrainedConfig:
    config = AutoConfig.for_model(model_type, **SIZES, **EXTRA.get(model_type, {}))
    for name in ("attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout"):
        if name in config.to_dict():
            setattr(config, name, 0.0)
    return config


def packed_model(config: PreTrainedConfig) -> PackedLM:
    torch.manual_seed(0)
    attention = choose_attention("auto", AttentionNeeds.of(model_class_of(config), config), CPU, torch.float32)
    model = AutoModelForCausalLM.from_config(
        copy.deepcopy(config), attn_implementation=attention.name, dtype=torch.float32
    )
    for param in model.parameters():
        if param.ndim > 1:
            torch.nn.init.normal_(param, std=0.2)  # attention and position matter
    return PackedLM(model, attention, chunk_size=7).eval()


def separate_logprobs(model: PackedLM, sequences: list[Tensor], temperature: float) -> Tensor:
    """HF's own eager forward on each sequence alone."""
    model.hf.set_attn_implementation("eager")
    outputs = []
    for ids in sequences:
        log_p = torch.log_softmax(model.hf(ids.unsqueeze(0)).logits[0] / temperature, dim=-1)
        outputs.append(log_p.gather(1, ids.unsqueeze(1)).squeeze(1))
    model.hf.set_attn_implementation(model.attention.name)
    return torch.cat(outputs)


@pytest.mark.parametrize("model_type", sorted(PLAIN_HEAD_FAMILIES) + OTHER_FAMILIES)
def test_packed_lm_each_family_matches_hf_on_separate_sequences(model_type: str):
    config = tiny_family(model_type)
    model = packed_model(config)
    verify_packing(model, config, CPU, torch.float32)
    generator = torch.Generator().manual_seed(1)
    sequences = [torch.randint(3, 64, (length,), generator=generator) for length in (9, 3, 14)]
    ids = torch.cat(sequences)
    logprobs, entropy = model(ids, PackedLayout.from_lengths([9, 3, 14]), ids, 1.3, True)
    expected = separate_logprobs(model, sequences, 1.3)
    torch.testing.assert_close(logprobs, expected, rtol=0.0, atol=5e-6)
    assert entropy is not None and entropy.shape == logprobs.shape
    assert model.has_fused_head == (model_type in PLAIN_HEAD_FAMILIES)
    # Gradients through the packed kernels and the head, against HF's on separate sequences.
    params = list(model.parameters())
    got = torch.autograd.grad(logprobs.sum(), params, allow_unused=True)
    for ours, theirs in zip(got, torch.autograd.grad(expected.sum(), params, allow_unused=True)):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("model_type", ["bloom", "falcon", "qwen3_next"])
def test_attention_needs_family_without_attention_interface_is_refused(model_type: str):
    config = tiny_family(model_type)
    with pytest.raises(ConfigError, match=r"mix packed sequences|carry state across packed sequences"):
        AttentionNeeds.of(model_class_of(config), config)


def test_verify_packing_model_that_ignores_the_layout_is_refused(monkeypatch: pytest.MonkeyPatch):
    config = tiny_family("qwen2")
    model = packed_model(config)
    one_sequence = PackedLayout.from_lengths

    def forgetful(module: Any, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        kwargs["packed_layout"] = one_sequence([query.shape[2]])
        return hf._dense_forward(module, query, *args, **kwargs)

    hf.AttentionInterface.register(hf.DENSE, forgetful)
    try:
        with pytest.raises(ConfigError, match="lets packed sequences see each other"):
            verify_packing(model, config, CPU, torch.float32)
    finally:
        hf.AttentionInterface.register(hf.DENSE, hf._dense_forward)


def test_verify_packing_positions_that_run_on_are_refused(monkeypatch: pytest.MonkeyPatch):
    config = tiny_family("gpt2")
    model = packed_model(config)
    monkeypatch.setattr(PackedLayout, "position_ids", lambda layout: torch.arange(layout.num_tokens))
    with pytest.raises(ConfigError, match=r"places packed sequences wrongly|see each other"):
        verify_packing(model, config, CPU, torch.float32)


def test_packed_kernel_called_without_layout_says_what_to_do():
    model = packed_model(tiny_family("qwen2"))
    with pytest.raises(TypeError, match="got no packed_layout"):
        model.hf(torch.tensor([[1, 2, 3]]))


@pytest.mark.parametrize(
    ("needs", "device", "dtype", "expected"),
    [
        ({}, "cpu", torch.float32, hf.DENSE),
        ({}, "cuda", torch.bfloat16, hf.VARLEN),
        ({}, "cuda", torch.float32, hf.DENSE),
        ({"head_size": 512}, "cuda", torch.bfloat16, hf.DENSE),
        ({"softcap": 50.0}, "cuda", torch.bfloat16, "eager"),
        ({"sinks": True}, "cpu", torch.float32, "eager"),
        ({"chunked": True}, "cpu", torch.float32, "sdpa"),
        ({"dropout": 0.1}, "cpu", torch.float32, "sdpa"),
    ],
)
def test_choose_attention_auto_takes_a_kernel_that_meets_every_need(
    needs: dict[str, Any], device: str, dtype: torch.dtype, expected: str
):
    defaults = {"softcap": None, "sinks": False, "chunked": False, "dropout": 0.0, "head_size": 64}
    choice = choose_attention("auto", AttentionNeeds(**{**defaults, **needs}), torch.device(device), dtype)
    assert choice.name == expected
