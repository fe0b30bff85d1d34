# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sharing prefixes must change nothing but the time: same log-probs, same entropies, same gradients."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from areal.engine.core.model import PackedInputs
from areal.models.packed_attention.hf import DENSE, AttentionChoice
from areal.models.packed_attention.sharing import find_shared_prefixes
from areal.models.packed_lm import PackedLM

CPU = torch.device("cpu")
SHAPE = {"vocab_size": 40, "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def _models() -> list[PreTrainedModel]:
    torch.manual_seed(0)
    grouped = Qwen2Config(**SHAPE, num_key_value_heads=2, attn_implementation=DENSE)
    windowed = MistralConfig(**SHAPE, num_key_value_heads=4, sliding_window=6, attn_implementation=DENSE)
    return [Qwen2ForCausalLM(grouped), MistralForCausalLM(windowed)]


def _groups(*groups: tuple[int, list[int]]) -> tuple[torch.Tensor, list[int]]:
    """Ids of groups of (prompt length, answer lengths); the samples of a group lie side by side."""
    generator = torch.Generator().manual_seed(1)
    sequences = []
    for prompt_len, answers in groups:
        prompt = torch.randint(40, (prompt_len,), generator=generator)
        sequences += [torch.cat([prompt, torch.randint(40, (n,), generator=generator)]) for n in answers]
    return torch.cat(sequences), [len(ids) for ids in sequences]


def _micro_batch(ids: torch.Tensor, lengths: list[int]) -> dict[str, torch.Tensor]:
    return {"input_ids": ids, "cu_seqlens": torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)}


def _run(model: PackedLM, micro_batch: dict, share: bool) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    inputs = PackedInputs.of(micro_batch, CPU, share_prefixes=share)
    outputs = model(inputs.input_ids, inputs.layout, inputs.labels, 0.7, True, inputs.prediction_rows)
    logp, entropy = (inputs.per_token(output) for output in outputs)
    weights = torch.linspace(-1, 2, len(logp)) * inputs.has_label
    model.zero_grad()
    (logp * weights).sum().backward()
    return logp.masked_fill(~inputs.has_label, 0.0), entropy, [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("hf_model", _models(), ids=["qwen2-gqa", "mistral-window"])
def test_shared_prompts_give_the_logprobs_and_gradients_of_separate_ones(hf_model: PreTrainedModel) -> None:
    micro_batch = _micro_batch(*_groups((12, [5, 9, 1, 7]), (30, [4]), (9, [11, 2])))
    model = PackedLM(hf_model, AttentionChoice(DENSE, "test"), chunk_size=16)
    shared, separate = (_run(model, micro_batch, share) for share in (True, False))
    torch.testing.assert_close(shared[0], separate[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(shared[1], separate[1], rtol=0, atol=1e-6)
    for got, expected in zip(shared[2], separate[2], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-6)


def test_group_of_four_computes_its_prompt_once() -> None:
    ids, lengths = _groups((20, [5, 6, 7, 8]))
    inputs = PackedInputs.of(_micro_batch(ids, lengths), CPU, share_prefixes=True)
    assert len(inputs.input_ids) == 20 + 5 + 6 + 7 + 8
    assert len(inputs.labels) == len(inputs.input_ids) + 3  # the last prompt token predicts four first tokens
    assert PackedInputs.of(_micro_batch(ids, lengths), CPU).input_ids.equal(ids)


def test_equal_samples_keep_a_token_of_their_own_each() -> None:
    ids, lengths = torch.arange(10).repeat(3), [10, 10, 10]
    shared = find_shared_prefixes(ids, tuple(lengths))
    assert shared is not None and shared.prefix_lens == (0, 9, 9)


def test_nothing_in_common_shares_nothing() -> None:
    assert find_shared_prefixes(torch.arange(40), (20, 20)) is None


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=24), min_size=1, max_size=6))
def test_tables_lead_every_token_to_its_own_id_prefix_and_label(sequences: list[list[int]]) -> None:
    ids, lengths = torch.tensor([token for seq in sequences for token in seq]), tuple(map(len, sequences))
    shared = find_shared_prefixes(ids, lengths)
    if shared is None:
        return
    contexts = [tuple(seq[: t + 1]) for seq in sequences for t in range(len(seq))]
    labels = [seq[t + 1] if t + 1 < len(seq) else None for seq in sequences for t in range(len(seq))]
    for token, context in enumerate(contexts):
        row, prediction = int(shared.token_rows[token]), int(shared.prediction_of[token])
        assert contexts[int(shared.first_tokens[row])] == context
        source = int(shared.prediction_tokens[prediction])
        assert contexts[source] == context and labels[source] == labels[token]
