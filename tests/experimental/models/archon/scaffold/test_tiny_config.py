# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny configs keep what a class means: rotating parts of heads stay pairs, norms stay clear of rounding."""

import pytest

from areal.experimental.models.archon.scaffold.pipeline import config_class_of
from areal.experimental.models.archon.scaffold.tiny_config import changed, find_tiny, tiny_config


def test_rotating_part_of_a_tiny_head_is_made_of_pairs():
    config = tiny_config(config_class_of("mimo_v2_flash"), {})
    shares = [table["partial_rotary_factor"] for table in config.rope_parameters.values()]
    assert shares == [0.375, 0.375]
    assert all(int(config.head_dim * share) % 2 == 0 for share in shares)


def test_epsilons_of_norms_are_large_enough_to_be_told_from_none():
    assert tiny_config(config_class_of("qwen3_moe"), {}).rms_norm_eps == 0.01


def test_error_of_a_model_is_reported_before_that_of_a_config_that_another_repair_avoids():
    def works(config):
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        find_tiny(config_class_of("dots3_note_text"), works, {})


def test_kinds_that_are_told_by_how_often_they_come_follow_the_depth():
    config = tiny_config(config_class_of("gpt_neo"), {})
    assert config.attention_types == [[["global", "local"], 2]]
    deeper = changed(config, num_layers=6)
    assert (deeper.attention_types, len(deeper.attention_layers)) == ([[["global", "local"], 3]], 6)
