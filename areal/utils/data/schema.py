# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the entries of a trajectory are, decided by rank alone, and the check that a trajectory is well formed.

`[B, S, ...]` tensors are per token, `[B]` tensors and lists of B items are per sequence, scalars and everything else are
shared by all sequences. Element counts never decide: a batch of 4 sequences of 4 tokens is as clear as any other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["token", "sequence", "shared"]

REQUIRED_KEYS = ("input_ids", "attention_mask")


def attention_mask_of(data: Mapping[str, Any]) -> Tensor:
    """`attention_mask` as a bool tensor [B, S]; `ValueError` when it is missing or not 2-D."""
    mask = data.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        got = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"a padded batch needs an attention_mask tensor [B, S], got {got}; keys: {sorted(data)}")
    return mask if mask.dtype == torch.bool else mask != 0


def get_batch_size(data: Mapping[str, Any]) -> int:
    """Number of sequences of a padded (attention_mask) or packed (cu_seqlens) batch; 0 for an empty dict."""
    if not data:
        return 0
    if "cu_seqlens" in data:
        return len(data["cu_seqlens"]) - 1
    return attention_mask_of(data).shape[0]


def row_lengths(attention_mask: Tensor) -> Tensor:
    """Number of real tokens of each row [B], int64 on the CPU. `ValueError` unless all padding is on the right."""
    mask = attention_mask if attention_mask.dtype == torch.bool else attention_mask != 0
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        row = int((mask[:, 1:] & ~mask[:, :-1]).any(1).nonzero()[0])
        raise ValueError(f"attention_mask must be 1s followed by 0s (right padding), but row {row} has a 1 after a 0")
    return mask.sum(1).cpu()


def kind_of(key: str, value: Any, batch_size: int, seq_len: int) -> Kind:
    """What an entry of a padded batch describes; `ValueError` for shapes that fit neither tokens nor sequences."""
    if isinstance(value, Tensor):
        shape = value.shape
        if not shape:
            return "shared"
        if shape[0] == batch_size and (len(shape) == 1 or shape[1] == seq_len):
            return "sequence" if len(shape) == 1 else "token"
        raise ValueError(
            f"{key!r} must be per token [{batch_size}, {seq_len}, ...] or per sequence [{batch_size}], "
            f"got {list(shape)}; pad or trim it like attention_mask"
        )
    if not isinstance(value, list):
        return "shared"
    if len(value) != batch_size:
        raise ValueError(f"{key!r} is a list of {len(value)} items; a list needs one item per sequence: {batch_size}")
    return "sequence"


def kinds_of(data: Mapping[str, Any], batch_size: int, seq_len: int) -> dict[str, Kind]:
    """`kind_of` for every entry."""
    return {key: kind_of(key, value, batch_size, seq_len) for key, value in data.items()}


def check_trajectory_format(
    data: Mapping[str, Any] | None, batch_size: int | None = None, expected_keys: Collection[str] | None = None
) -> bool:
    """Return True for None (a rejected episode) and for a well-formed trajectory, else raise `ValueError`.

    Well formed: a non-empty dict with `input_ids` [b, L] and a right-padded `attention_mask` [b, L], every other entry per
    token, per sequence or scalar, `loss_mask` inside the attention mask, at least one real token in each row, the given
    batch size and expected keys. Shape mismatches are errors: training on them would be silently wrong.
    """
    if data is None:
        return True
    if not isinstance(data, Mapping):
        raise ValueError(f"a trajectory must be a dict of tensors or None, got {type(data).__name__}")
    if not data:
        raise ValueError("a trajectory must not be an empty dict; return None to reject an episode")
    missing = [key for key in (*REQUIRED_KEYS, *(expected_keys or ())) if key not in data]
    if missing:
        raise ValueError(f"a trajectory lacks {missing}; it has {sorted(data)}")
    ids = data["input_ids"]
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        got = list(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(
            f"input_ids must be a tensor [b, L], got {got}; give a single sequence a leading dimension of 1"
        )
    num_rows, width = ids.shape
    if batch_size is not None and num_rows != batch_size:
        raise ValueError(f"a trajectory of {batch_size} sequences was expected, got {num_rows}")
    kinds_of(data, num_rows, width)
    mask = attention_mask_of(data)
    lengths = row_lengths(mask)
    if bool((lengths == 0).any()):
        raise ValueError(
            f"row {int((lengths == 0).nonzero()[0])} of the trajectory has no tokens (attention_mask all 0)"
        )
    loss_mask = data.get("loss_mask")
    if isinstance(loss_mask, Tensor) and bool(((loss_mask != 0) & ~mask).any()):
        raise ValueError("loss_mask selects padding: it must be 0 wherever attention_mask is 0")
    return True
