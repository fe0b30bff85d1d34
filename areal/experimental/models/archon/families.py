# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which package runs which HF `model_type`: one line each, kept sorted. Written by `areal archon new`."""

from __future__ import annotations

_HOME = "areal.experimental.models.archon"

FAMILIES: dict[str, str] = {
    "cohere2": f"{_HOME}.cohere2.spec",
    "deepseek_v2": f"{_HOME}.deepseek_v2.spec",
    "deepseek_v3": f"{_HOME}.deepseek_v3.spec",
    "ernie4_5": f"{_HOME}.ernie4_5.spec",
    "ernie4_5_moe": f"{_HOME}.ernie4_5.spec",
    "gemma2": f"{_HOME}.gemma2.spec",
    "gemma3_text": f"{_HOME}.gemma3_text.spec",
    "glm": f"{_HOME}.glm.spec",
    "glm4_moe": f"{_HOME}.glm4_moe.spec",
    "gpt_oss": f"{_HOME}.gpt_oss.spec",
    "granite": f"{_HOME}.granite.spec",
    "llama": f"{_HOME}.llama.spec",
    "ministral3": f"{_HOME}.ministral3.spec",
    "mistral": f"{_HOME}.mistral.spec",
    "mixtral": f"{_HOME}.mixtral.spec",
    "nanochat": f"{_HOME}.nanochat.spec",
    "olmo2": f"{_HOME}.olmo2.spec",
    "olmo3": f"{_HOME}.olmo3.spec",
    "olmoe": f"{_HOME}.olmoe.spec",
    "phi3": f"{_HOME}.phi3.spec",
    "qwen2": f"{_HOME}.qwen2.spec",
    "qwen2_moe": f"{_HOME}.qwen2_moe.spec",
    "qwen3": f"{_HOME}.qwen3.spec",
    "qwen3_5": f"{_HOME}.qwen3_5.spec",
    "qwen3_5_moe": f"{_HOME}.qwen3_5.spec",
    "qwen3_5_moe_text": f"{_HOME}.qwen3_5.spec",
    "qwen3_5_text": f"{_HOME}.qwen3_5.spec",
    "qwen3_moe": f"{_HOME}.qwen3_moe.spec",
    "qwen3_next": f"{_HOME}.qwen3_next.spec",
    "smollm3": f"{_HOME}.smollm3.spec",
    "starcoder2": f"{_HOME}.starcoder2.spec",
}
