# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Packed batches: the real tokens of all sequences in one row [T], with `cu_seqlens` [n+1] marking where each begins.

Called by `areal.utils.data.microbatch`, by training engines and by algorithms. Right padding is checked, not assumed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from areal.utils.data.schema import attention_mask_of, kinds_of, row_lengths


def to_prediction_alignment(x_BS: Tensor, fill: float = 0) -> Tensor:
    """Move a token-aligned tensor [B, S, ...] to prediction alignment: index t of the result describes token t + 1.

    The last column is `fill`. This shift, unlike a roll, never lets the first token wrap round to the end.
    """
    shifted = torch.full_like(x_BS, fill)
    shifted[:, :-1] = x_BS[:, 1:]
    return shifted


def amend_position_ids(data: Mapping[str, Any]) -> dict[str, Any]:
    """The padded batch with `position_ids` [B, S] int64 added: 0..S-1 in every row (padding is on the right)."""
    mask = attention_mask_of(data)
    positions = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape).contiguous()
    return {**data, "position_ids": positions}


def token_index(rows: ArrayLike, lengths: ArrayLike, seq_len: int) -> np.ndarray:
    """Positions, in a flattened [B, S] tensor, of the real tokens of `rows` (in that order): int64 [T]."""
    lengths_n = np.asarray(lengths, dtype=np.int64)
    ends = np.cumsum(lengths_n)
    shift = np.asarray(rows, dtype=np.int64) * seq_len - (ends - lengths_n)
    return np.repeat(shift, lengths_n) + np.arange(ends[-1] if len(ends) else 0)


def pack_tensor_dict(data: Mapping[str, Any]) -> dict[str, Any]:
    """Pack a right-padded batch: `[B, S, ...]` entries become `[T, ...]`, the others stay.

    `attention_mask` is replaced by `cu_seqlens` (int32 [B+1], starting at 0) and `max_seqlen` (int, the longest
    sequence). `ValueError` for padding that is not on the right and for shapes that fit neither tokens nor sequences.
    """
    mask = attention_mask_of(data)
    num_rows, seq_len = mask.shape
    lengths = row_lengths(mask).tolist()
    index = torch.from_numpy(token_index(range(num_rows), lengths, seq_len)).to(mask.device)
    packed: dict[str, Any] = {}
    for key, kind in kinds_of(data, num_rows, seq_len).items():
        if key != "attention_mask":
            value = data[key]
            packed[key] = value.flatten(0, 1).index_select(0, index.to(value.device)) if kind == "token" else value
    packed["cu_seqlens"] = cumulative(lengths).to(mask.device)
    packed["max_seqlen"] = max(lengths, default=0)
    return packed


def cumulative(lengths: ArrayLike) -> Tensor:
    """`cu_seqlens` of sequences of these lengths: int32 [n+1]."""
    return torch.from_numpy(np.concatenate(([0], np.cumsum(np.asarray(lengths, dtype=np.int64)))).astype(np.int32))


def unpack_sequence(
    x: Tensor, cu_seqlens: Tensor | None = None, lens: Sequence[int] | None = None, dim: int = 0
) -> list[Tensor]:
    """Views of `x` for each sequence along `dim`, by `cu_seqlens` or by `lens`; `ValueError` when neither is given."""
    if lens is None:
        if cu_seqlens is None:
            raise ValueError("unpack_sequence needs cu_seqlens or lens, got neither")
        lens = cu_seqlens.diff().tolist()
    return list(x.split(list(lens), dim))


def packed_token_keys(data: Mapping[str, Any]) -> frozenset[str]:
    """Keys of a packed batch whose tensors run over tokens, by their leading size.

    When every sequence has one token, tokens and sequences cannot be told apart: `ValueError`, pass the keys instead.
    """
    num_tokens, num_seqs = int(data["cu_seqlens"][-1]), len(data["cu_seqlens"]) - 1
    if num_tokens == num_seqs:
        raise ValueError(
            f"a packed batch of {num_seqs} sequences of one token does not tell per-token from per-sequence entries; "
            "pass token_keys (MicroBatchList has them)"
        )
    return frozenset(
        key
        for key, value in data.items()
        if key != "cu_seqlens" and isinstance(value, Tensor) and value.ndim and value.shape[0] == num_tokens
    )


def pad_packed_tensor_dict(
    data: Mapping[str, Any],
    pad_to_length: int,
    pad_value: float = 0.0,
    seq_align_to: int | None = None,
    token_keys: Collection[str] | None = None,
) -> tuple[dict[str, Any], int, Tensor, int]:
    """Pad a packed batch to `pad_to_length` tokens by one dummy sequence at the end.

    With `seq_align_to`, each sequence is first padded to a multiple of it (context parallelism), and the total to a multiple
    that is at least `pad_to_length`. `position_ids` count 0.. in the dummy, other per-token entries get `pad_value`;
    per-sequence entries keep their n items. `token_keys` names the per-token entries (None: by leading size).

    Returns `(padded dict, number of tokens in the dummy, cu_seqlens before, tokens before the dummy)`.
    `ValueError` when the batch is longer than `pad_to_length` and no alignment is asked for.
    """
    cu_seqlens = data["cu_seqlens"]
    keys = packed_token_keys(data) if token_keys is None else token_keys
    lengths = cu_seqlens.diff().tolist()
    align = seq_align_to or 1
    aligned = [-(-length // align) * align for length in lengths]
    aligned_total = sum(aligned)
    target = -(-max(pad_to_length, aligned_total if seq_align_to else 0) // align) * align
    if target < aligned_total:
        raise ValueError(
            f"cannot pad {aligned_total} tokens to {pad_to_length}; raise pad_to_length to {aligned_total}"
        )
    pad_length = target - aligned_total
    starts = np.concatenate(([0], np.cumsum(aligned, dtype=np.int64)))[:-1]
    # `token_index` with a stride of 1 lays rows that begin at `starts`.
    index = torch.from_numpy(token_index(starts.tolist(), lengths, 1)).to(cu_seqlens.device)
    padded = dict(data)
    for key in keys:
        value = data[key]
        if key == "position_ids":
            counts = [np.arange(length) for length in (*aligned, pad_length)]
            full = torch.from_numpy(np.concatenate(counts)).to(device=value.device, dtype=value.dtype)
        else:
            full = value.new_full((target, *value.shape[1:]), pad_value)
        padded[key] = full.index_copy_(0, index.to(value.device), value)
    sizes = [*aligned, pad_length] if pad_length else aligned
    padded["cu_seqlens"] = cumulative(sizes).to(cu_seqlens.device)
    padded["max_seqlen"] = max(sizes, default=0)
    return padded, pad_length, cu_seqlens, aligned_total


def unpad_logits(
    logits: Tensor, padding_length: int, cu_seqlens: Tensor | None = None, old_cu_seqlens: Tensor | None = None
) -> Tensor:
    """Undo `pad_packed_tensor_dict` on a result [T_padded, ...].

    Drops the dummy sequence; when both `cu_seqlens` (aligned) and `old_cu_seqlens` are given, also the alignment.
    """
    logits = logits[: logits.shape[0] - padding_length]
    if cu_seqlens is None or old_cu_seqlens is None:
        return logits
    lengths = old_cu_seqlens.diff().tolist()
    starts = cu_seqlens[: len(lengths)].tolist()
    if math.fsum(lengths) == logits.shape[0]:
        return logits
    return logits.index_select(0, torch.from_numpy(token_index(starts, lengths, 1)).to(logits.device))
