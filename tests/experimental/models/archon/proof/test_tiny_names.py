# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny configs of families with older names of fields, and of families whose default drops activations."""

from areal.experimental.models.archon.proof.tiny import NUM_LAYERS, tiny_configs


def test_older_names_are_shrunk_like_the_usual_ones_and_nothing_is_dropped():
    first, second = tiny_configs("gpt2")
    assert (first.n_layer, first.n_embd, first.n_head, first.vocab_size) == (NUM_LAYERS, 64, 4, 128)
    assert (second.n_layer, second.n_embd, second.n_head) == (NUM_LAYERS, 48, 6)
    assert first.attn_pdrop == first.resid_pdrop == first.embd_pdrop == 0.0


def test_dropout_of_the_default_is_off():
    assert all(config.attention_dropout == config.residual_dropout == 0.0 for config in tiny_configs("seed_oss"))
