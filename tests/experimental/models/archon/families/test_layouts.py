# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One optimizer step of every family on two ranks, in each layout that it claims, equals that of one process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from areal.experimental.models.archon.families import FAMILIES
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.proof import tiny_configs, two_rank_layouts
from tests.experimental.models.archon.parallel.two_ranks import assert_steps_are_those_of_one_process

COMPOSITE = {"qwen3_5", "qwen3_5_moe"}
"""Read into the same arguments as their text models."""


def tiny_args(model_type: str) -> DecoderArgs:
    config = tiny_configs(model_type)[0]
    args = get_model_spec(model_type).model_args_class.from_hf_config(config)
    # Untied: with tied embeddings gemma2's gradient norm moves by 3e-5 if its weights move by one rounding.
    return replace(DecoderArgs(**vars(args)), tie_embeddings=False)


@pytest.mark.parametrize("model_type", sorted(set(FAMILIES) - COMPOSITE))
def test_step_on_two_ranks_in_any_layout_equals_that_of_one_process(model_type):
    args = tiny_args(model_type)
    assert_steps_are_those_of_one_process(args, two_rank_layouts(args))


def test_composite_types_have_the_arguments_of_their_text_models():
    for model_type in COMPOSITE:
        assert tiny_args(model_type) == tiny_args(f"{model_type}_text")
