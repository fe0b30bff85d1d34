# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Attention that HF models compute with code of their own is seen, with its biases, and our model gives the same logits."""

import pytest
import torch
from transformers import AutoConfig

from areal.experimental.models.archon.model_args import AlibiArgs
from areal.experimental.models.archon.scaffold.attends import attends_of_own_code
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import build, random_tokens, trace
from areal.experimental.models.archon.scaffold.observe import Observer
from areal.experimental.models.archon.scaffold.tiny_config import tiny_config
from areal.experimental.models.archon.scaffold.verify import forward_error, ours_of


def observed(model_type, **fields):
    model = build(tiny_config(type(AutoConfig.for_model(model_type)), fields), 0)
    record = trace(model, random_tokens(model.config, 0))
    return model, record.tokens, Observer(record).observe()


@pytest.mark.parametrize(
    ("model_type", "fields", "alibi", "max_positions"),
    [
        ("bloom", {}, AlibiArgs(), None),
        ("mpt", {}, AlibiArgs(), 64),
        ("falcon", {}, None, 64),
        ("falcon", {"new_decoder_architecture": True}, None, 64),
    ],
)
def test_model_with_its_own_attention_is_recognised_with_its_biases(model_type, fields, alibi, max_positions):
    model, tokens, found = observed(model_type, **fields)
    assert found.args.layers[0].mixer.alibi == alibi
    assert found.args.max_positions == max_positions
    assert forward_error(model, ours_of(found.args, found.tensors), tokens) < 1e-5


def test_watched_operands_give_the_scores_that_the_softmax_read():
    model = build(tiny_config(type(AutoConfig.for_model("gpt_neox_japanese")), {}), 0)
    attends = attends_of_own_code(model, random_tokens(model.config, 0))
    assert [a.module for a in attends] == [layer.attention for layer in model.gpt_neox_japanese.layers]
    attend = attends[0]
    visible = attend.mask[0, 0]
    product = attend.q[0] @ attend.k[0].transpose(1, 2) * attend.q.shape[-1] ** -0.5
    assert torch.equal(visible, torch.ones_like(visible).tril())
    torch.testing.assert_close(product[:, visible], attend.scores[:, visible])


def test_biases_that_are_rounded_are_refused_as_such():
    with pytest.raises(Unexplained, match=r"alibi.*rounded to a short float"):
        observed("falcon", alibi=True, num_attention_heads=12, hidden_size=96, num_kv_heads=12)


def test_bias_that_a_mixer_leaves_to_its_block_is_named():
    with pytest.raises(Unexplained, match=r"mixer's branch.*attention\.dense_bias"):
        observed("gpt_neox_japanese")


def test_norm_of_the_residual_stream_itself_is_named():
    with pytest.raises(Unexplained, match=r"layers\.0\.final_layer_norm: normalises the residual stream itself"):
        observed("opt", do_layer_norm_before=False)
