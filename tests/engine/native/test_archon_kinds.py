# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of cache and of attention option that Archon's families have, through joins, leaves and a weight swap."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from areal.engine.native.model_loading import build_runner
from areal.experimental.models.archon.proof import random_hf_model, tiny_configs
from tests.engine.native.helpers import add, finish, hf_logprobs, prompts, scheduler_for

KINDS = {
    "mistral": "windows",
    "gemma2": "soft caps, windows in every other layer",
    "gemma3_text": "a rotary table for each layer type",
    "gpt_oss": "sinks, windows, experts with biases",
    "deepseek_v3": "latent attention: keys wider than values",
    "qwen3_next": "states of recurrent layers beside keys and values",
    "qwen3_5_text": "recurrent layers with separate projections",
    "ernie4_5_moe": "experts from the second layer on",
    "glm": "partial, interleaved rotation",
}


@pytest.mark.parametrize("model_type", KINDS)
def test_logprobs_equal_hf_through_joins_leaves_and_a_weight_swap(model_type: str, tmp_path: Path) -> None:
    config = tiny_configs(model_type)[0]
    models = [random_hf_model(config, seed) for seed in (0, 1)]
    for version, model in enumerate(models):
        model.save_pretrained(tmp_path / str(version))
    scheduler = scheduler_for(tmp_path / "0", max_num_seqs=3)
    group, *asked = prompts(9, 12, 3, 20, 1)
    asked = [group, group, *asked]

    futures = []
    for i, prompt in enumerate(asked):
        futures.append(add(scheduler, prompt, seed=i, max_new_tokens=6 + 5 * (i % 3), ignore_eos=True))
        scheduler.step()
    runner = scheduler._runner
    scheduler.apply_weights(runner.read_weights(tmp_path / "1"), 1)
    results = finish(scheduler, *futures)

    assert runner.info.runner == "archon"
    for prompt, got in zip(asked, results, strict=True):
        expected = [hf_logprobs(model, prompt, got.output_ids) for model in models]
        for span in got.version_spans:
            part = slice(span.start, span.end)
            torch.testing.assert_close(
                torch.tensor(got.output_logprobs[part]), expected[span.version][part], atol=2e-4, rtol=1e-4
            )
    assert {span.version for got in results for span in got.version_spans} == {0, 1}


def test_tables_that_depend_on_the_length_are_served_up_to_where_they_change(tmp_path: Path) -> None:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 8,
        "long_factor": [2.0] * 8,
        "original_max_position_embeddings": 32,
    }
    config = AutoConfig.for_model(
        "llama",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        head_dim=16,
        max_position_embeddings=128,
        rope_parameters=rope,
    )
    random_hf_model(config).save_pretrained(tmp_path)

    assert build_runner(tmp_path, device="cpu").info.max_positions == 32
