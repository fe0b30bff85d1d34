# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Learned positions of HF decoders are recognised, and our model with them gives the same logits."""

import pytest
import torch
from transformers import AutoConfig

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import build, random_tokens, trace
from areal.experimental.models.archon.scaffold.observe import Observer
from areal.experimental.models.archon.scaffold.tiny_config import tiny_config
from areal.experimental.models.archon.scaffold.verify import forward_error, logits_of_ours, ours_of


def observed(model_type, **fields):
    model = build(tiny_config(type(AutoConfig.for_model(model_type)), fields), 0)
    record = trace(model, random_tokens(model.config, 0))
    return model, record.tokens, Observer(record).observe()


@pytest.mark.parametrize(("model_type", "offset"), [("gpt2", 0), ("opt", 2), ("biogpt", 2), ("gpt_bigcode", 0)])
def test_learned_positions_are_recognised_with_the_row_of_position_zero(model_type, offset):
    model, tokens, found = observed(model_type)
    embedding = found.args.embedding
    assert (embedding.has_positions, embedding.position_offset, found.args.ropes) == (True, offset, {})
    assert forward_error(model, ours_of(found.args, found.tensors), tokens) < 1e-5


def test_free_slots_of_a_server_may_have_positions_outside_the_table():
    _, tokens, found = observed("gpt2")
    ours = ours_of(found.args, found.tensors)
    last = found.args.max_positions - 1
    with torch.no_grad():
        outside, inside = (ours.embed(tokens[0, :2], torch.tensor(p)) for p in ([-1, last + 9], [0, last]))
        assert torch.equal(outside, inside)
        assert logits_of_ours(ours, tokens).isfinite().all()


def test_positions_that_are_no_learned_table_are_reported_with_the_module_that_makes_them():
    with pytest.raises(Unexplained, match="XGLMSinusoidalPositionalEmbedding"):
        observed("xglm")
