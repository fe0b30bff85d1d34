# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from areal.models.packed_attention.hf import DENSE, VARLEN, AttentionChoice
from areal.models.packed_attention.layout import PackedLayout
from areal.models.packed_lm import PackedLM
from tests.models.flash_on_cpu import use_flash_on_cpu
from tests.models.test_packed_lm import SIZES

WIDTHS = {
    "deepseek_v3": {
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 8,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 4,
        "v_head_dim": 6,
        "first_k_dense_replace": 2,
    },
    "gemma3_text": {"head_dim": 8, "sliding_window": 4},
    "mistral": {"head_dim": 12, "sliding_window": 4},
    "qwen3": {"head_dim": 8},
}


@pytest.mark.parametrize("model_type", WIDTHS)
def test_varlen_attention_of_hf_models_equals_the_dense_kernel(model_type: str) -> None:
    use_flash_on_cpu()
    config = AutoConfig.for_model(model_type, **{**SIZES, **WIDTHS[model_type]})
    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_config(config, attn_implementation=DENSE, dtype=torch.float64)
    ids, layout = torch.randint(3, 64, (26,)), PackedLayout.from_lengths([9, 3, 14])
    found = []

    for name in (DENSE, VARLEN):
        hf.set_attn_implementation(name)
        model = PackedLM(hf, AttentionChoice(name, "under test"), chunk_size=7)
        logprobs, _ = model(ids, layout, ids, 1.0, False)
        found.append((logprobs, torch.autograd.grad(logprobs.sum(), list(hf.parameters()), allow_unused=True)))

    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-7)
