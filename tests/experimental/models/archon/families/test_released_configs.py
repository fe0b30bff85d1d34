# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Configs of released checkpoints, with the fields that other frameworks left in them, are read; numbers are hand-checked."""

import json
import math
from pathlib import Path

import pytest
from transformers import AutoConfig

from areal.experimental.models.archon.model_args import DecoderArgs, DeltaNetArgs, FeedForwardArgs, MoEArgs
from areal.experimental.models.archon.model_spec import get_model_spec

RELEASED = json.loads((Path(__file__).parent / "released_configs.json").read_text())


def read(folder: Path, name: str) -> DecoderArgs:
    (folder / "config.json").write_text(json.dumps(RELEASED[name]))
    config = AutoConfig.from_pretrained(folder)
    return get_model_spec(config.model_type).model_args_class.from_hf_config(config)


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_released_config_is_read(tmp_path, name):
    args = read(tmp_path, name)
    text = RELEASED[name].get("text_config", RELEASED[name])
    assert (args.num_layers, args.hidden_size) == (text["num_hidden_layers"], text["hidden_size"])


def test_qwen2_with_windows_switched_off_has_none(tmp_path):
    assert {score.window for score in read(tmp_path, "qwen2.5-0.5b").scores()} == {None}


def test_gemma3_1b_has_windows_and_local_ropes_on_five_of_six_layers(tmp_path):
    args = read(tmp_path, "gemma3-1b")
    assert [layer.mixer.score.window for layer in args.layers[:6]] == [512] * 5 + [None]
    assert args.ropes[args.layers[0].mixer.rope].theta == 10000
    assert args.ropes[args.layers[5].mixer.rope].theta == 1000000
    assert args.embedding.scale == math.sqrt(1152)


def test_phi4_mini_rotates_three_quarters_with_the_factor_of_its_lengths(tmp_path):
    rope = read(tmp_path, "phi4-mini").ropes["default"]
    assert (rope.kind, rope.rotary_dim, rope.factor) == ("longrope", 96, 131072 / 4096)


def test_deepseek_v3_scales_scores_by_the_square_of_mscale(tmp_path):
    args = read(tmp_path, "deepseek-v3-bf16")
    mscale = 0.1 * 1.0 * math.log(40) + 1
    assert args.layers[0].mixer.score.scale == pytest.approx(192**-0.5 * mscale**2)
    assert [isinstance(layer.ffn, MoEArgs) for layer in args.layers[:4]] == [False] * 3 + [True]
    router = args.layers[3].ffn.router
    assert (router.num_groups, router.num_limited_groups, router.scale) == (8, 4, 2.5)


def test_deepseek_v2_lite_projects_queries_directly_and_has_no_groups(tmp_path):
    args = read(tmp_path, "deepseek-v2-lite")
    assert args.layers[0].mixer.q_rank is None
    assert args.layers[1].ffn.router.num_groups == 1
    assert args.layers[1].ffn.shared.feed_forward.intermediate_size == 2 * 1408


def test_qwen3_5_moe_reads_the_text_part_of_a_composite_config(tmp_path):
    args = read(tmp_path, "qwen3.5-moe")
    assert [isinstance(layer.mixer, DeltaNetArgs) for layer in args.layers[:4]] == [True] * 3 + [False]
    assert args.ropes["default"].rotary_dim == 64


def test_ernie_21b_starts_experts_at_its_second_layer(tmp_path):
    args = read(tmp_path, "ernie4.5-21b")
    assert isinstance(args.layers[0].ffn, FeedForwardArgs)
    assert args.moe_layers == tuple(range(1, 28))
