# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Prefixes that adjacent sequences of a packed batch have in common, so that a group's prompt is computed once.

Under causal attention the hidden states of equal prefixes are equal, so the samples of a group need one copy of their
prompt: its rows are shared, and gradients from all samples add up in them. Exact, not an approximation; with 8 short
answers to a prompt it halves the tokens of a step. Called by the engine core for each micro-batch.
Shapes: T tokens of all sequences, R <= T rows of the packed tensors, U predictions that differ, R <= U <= T.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MIN_PREFIX = 8
"""Shorter common prefixes (a chat template's first tokens) cost more bookkeeping than they save."""


@dataclass(frozen=True)
class SharedPrefixes:
    """How T tokens map to R rows and to U predictions; tensors are int64 on the CPU.

    prefix_lens: for each sequence, how many of its first tokens are another's rows. token_rows: `[T]` row of each token. first_tokens: `[R]` a token of each row. prediction_tokens: `[U]` a token of each
    prediction (a row together with the label that follows it). prediction_of: `[T]` prediction of each token.
    """

    prefix_lens: tuple[int, ...]
    token_rows: Tensor
    first_tokens: Tensor
    prediction_tokens: Tensor
    prediction_of: Tensor


def find_shared_prefixes(input_ids: Tensor, seq_lens: tuple[int, ...]) -> SharedPrefixes | None:
    """The tables for sequences of `seq_lens` packed in `input_ids` `[T]`; None when none of them share a prefix.

    A sequence shares with the first of its run of neighbours, which is how the samples of a group lie.
    """
    ids = input_ids.cpu().numpy()
    starts = [0, *itertools.accumulate(seq_lens)]
    leaders, prefix_lens = _runs(ids, starts, seq_lens)
    if not any(prefix_lens):
        return None
    token_rows, prediction_of = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
    first_tokens: list[np.ndarray] = []
    prediction_tokens: list[np.ndarray] = []
    num_rows = num_predictions = 0
    for start, length, leader, prefix in zip(starts, seq_lens, leaders, prefix_lens):
        # Tokens below `prefix` are the leader's; so are their predictions, except the last one: its label differs.
        lead = starts[leader]
        token_rows[start : start + prefix] = token_rows[lead : lead + prefix]
        own = np.arange(start + prefix, start + length)
        token_rows[own] = num_rows + np.arange(len(own))
        first_tokens.append(own)
        num_rows += len(own)
        shared = max(prefix - 1, 0)
        prediction_of[start : start + shared] = prediction_of[lead : lead + shared]
        predicting = np.arange(start + shared, start + length)
        prediction_of[predicting] = num_predictions + np.arange(len(predicting))
        prediction_tokens.append(predicting)
        num_predictions += len(predicting)
    return SharedPrefixes(
        prefix_lens=tuple(prefix_lens),
        token_rows=torch.from_numpy(token_rows),
        first_tokens=torch.from_numpy(np.concatenate(first_tokens)),
        prediction_tokens=torch.from_numpy(np.concatenate(prediction_tokens)),
        prediction_of=torch.from_numpy(prediction_of),
    )


def _runs(ids: np.ndarray, starts: list[int], seq_lens: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """For each sequence the first one of its run, and the length of the prefix it shares with that one (0 for itself)."""
    leaders, prefix_lens = [0], [0]
    for index in range(1, len(seq_lens)):
        leader = leaders[-1]
        longest = min(seq_lens[leader], seq_lens[index] - 1)  # each sequence has a token of its own
        a = ids[starts[leader] : starts[leader] + longest]
        b = ids[starts[index] : starts[index] + longest]
        differs = a != b
        prefix = int(differs.argmax()) if differs.any() else longest
        is_shared = prefix >= MIN_PREFIX
        leaders.append(leader if is_shared else index)
        prefix_lens.append(prefix if is_shared else 0)
    return leaders, prefix_lens
