# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Padded batches [B, S]: making them from samples and trajectories, and splitting results back.

Called by workflows, collate functions and algorithm classes. Outputs never share memory with inputs, so in-place work on
a batch cannot reach the caller's trajectories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from areal.utils.data.schema import attention_mask_of, kinds_of

_DTYPES = {bool: torch.bool, int: torch.int32, float: torch.float32}
"""Dtypes of the trajectory format (AReaL's RLVR workflow) for plain Python numbers."""


@dataclass(frozen=True)
class TrajBatchMeta:
    """How a concatenated batch divides into trajectories: number of sequences and padded length of each."""

    n_trajs: int
    traj_group_sizes: list[int]
    traj_seqlens: list[int]


def pad_sequences_to_tensors(sequences: Sequence[Mapping[str, Any]], pad_value: float = 0.0) -> dict[str, Any]:
    """Stack samples of 1-D sequences into tensors [B, S], right-padded, with a bool `attention_mask`.

    The sequences (lists or 1-D tensors) of one sample have one length; scalars become `[B]`. Python ints become int32,
    floats float32. `ValueError` for no samples, differing keys or differing lengths inside a sample.
    """
    if not sequences:
        raise ValueError("there is nothing to pad: got no samples")
    keys = list(sequences[0])
    columns: dict[str, list[Tensor]] = {key: [] for key in keys}
    lengths = []
    for row, sample in enumerate(sequences):
        _same_keys(keys, sample, f"sample {row}")
        sizes = set()
        for key in keys:
            value = _as_tensor(sample[key])
            if value.ndim > 1:
                raise ValueError(f"sample {row}: {key!r} must be a scalar or 1-D, got shape {list(value.shape)}")
            columns[key].append(value)
            sizes |= {value.shape[0]} if value.ndim else set()
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(
                f"sample {row}: all sequences must have one length of at least 1, got {sorted(sizes)} for keys {keys}"
            )
        lengths.append(sizes.pop())
    batch: dict[str, Any] = {}
    for key, values in columns.items():
        if any(value.ndim != values[0].ndim for value in values):
            raise ValueError(f"{key!r} is a scalar in some samples and a sequence in others")
        batch[key] = (
            torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=pad_value)
            if values[0].ndim
            else torch.stack(values)
        )
    batch["attention_mask"] = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return batch


def collate_samples_to_list(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each sample as a trajectory of one sequence: tensors [1, L] and an `attention_mask` of ones (the SFT collate)."""
    return [pad_sequences_to_tensors([sample]) for sample in samples]


def concat_padded_tensors(dicts: Sequence[Mapping[str, Any]], pad_value: float = 0.0) -> dict[str, Any]:
    """One batch from several: rows one after the other, right-padded to the longest.

    Per-token entries get `pad_value` (`attention_mask` always 0), lists are joined, shared entries come from the first
    dict. `ValueError` for differing key sets or shapes that do not fit.
    """
    if not dicts:
        raise ValueError("there is nothing to concatenate: got no trajectories")
    keys = list(dicts[0])
    shapes = []
    for position, data in enumerate(dicts):
        _same_keys(keys, data, f"trajectory {position}")
        shapes.append(attention_mask_of(data).shape)
    kinds = kinds_of(dicts[0], *shapes[0])
    for data, shape in zip(dicts[1:], shapes[1:], strict=True):
        if (other := kinds_of(data, *shape)) != kinds:
            differing = sorted(key for key in keys if kinds[key] != other[key])
            raise ValueError(f"{differing} are per token in some trajectories and per sequence or shared in others")
    widths = {width for _, width in shapes}
    index = _target_index(shapes) if len(widths) > 1 else None
    batch: dict[str, Any] = {}
    for key in keys:
        values = [data[key] for data in dicts]
        if kinds[key] == "shared":
            batch[key] = values[0]
        elif isinstance(values[0], list):
            batch[key] = [item for value in values for item in value]
        elif kinds[key] == "sequence" or index is None:
            batch[key] = torch.cat(values)
        else:
            flat = torch.cat([value.flatten(0, 1) for value in values])
            num_rows, width = sum(rows for rows, _ in shapes), max(widths)
            padded = flat.new_full((num_rows * width, *flat.shape[1:]), 0 if key == "attention_mask" else pad_value)
            batch[key] = padded.index_copy_(0, index.to(flat.device), flat).unflatten(0, (num_rows, width))
    return batch


def _target_index(shapes: Sequence[torch.Size]) -> Tensor:
    """Where each element of the flattened inputs lies in the flattened [B, S] output."""
    width = max(width for _, width in shapes)
    row_widths = np.repeat([w for _, w in shapes], [b for b, _ in shapes])
    ends = np.cumsum(row_widths)
    shift = np.arange(len(row_widths)) * width - (ends - row_widths)
    return torch.from_numpy(np.repeat(shift, row_widths) + np.arange(ends[-1]))


def split_and_unpad_tensor(
    result: Any, n_trajs: int, traj_group_sizes: int | Sequence[int] = 1, traj_seqlens: Sequence[int] | None = None
) -> Any:
    """Undo `concat_padded_tensors`: a list of `n_trajs` pieces of a tensor [B, ...], a list of B items or a dict of these.

    Per-token tensors are trimmed to each trajectory's own padded length. Shared values (scalars, strings) appear in every
    piece. Pieces are copies: a view would carry the whole batch along when it is pickled. None gives None.
    """
    if result is None:
        return None
    sizes = [traj_group_sizes] * n_trajs if isinstance(traj_group_sizes, int) else list(traj_group_sizes)
    if len(sizes) != n_trajs or (traj_seqlens is not None and len(traj_seqlens) != n_trajs):
        got = (len(sizes), None if traj_seqlens is None else len(traj_seqlens))
        raise ValueError(f"one group size and one length per trajectory are needed: {n_trajs}, got {got}")
    if isinstance(result, Mapping):
        columns = {k: split_and_unpad_tensor(v, n_trajs, sizes, traj_seqlens) for k, v in result.items()}
        return [{k: None if column is None else column[i] for k, column in columns.items()} for i in range(n_trajs)]
    num_rows = sum(sizes)
    if isinstance(result, list):
        if len(result) != num_rows:
            raise ValueError(f"a list needs one item per sequence: {num_rows}, got {len(result)}")
        starts = np.cumsum([0, *sizes]).tolist()
        return [result[start:stop] for start, stop in pairwise(starts)]
    if not isinstance(result, Tensor) or result.ndim == 0:
        return [result] * n_trajs
    if result.shape[0] != num_rows:
        raise ValueError(f"the result must have one row per sequence: {num_rows}, got shape {list(result.shape)}")
    pieces = result.split(sizes)
    if result.ndim == 1 or traj_seqlens is None:
        return [piece.clone() for piece in pieces]
    return [piece[:, :length].clone() for piece, length in zip(pieces, traj_seqlens, strict=True)]


def concat_batch(data: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], TrajBatchMeta]:
    """The trajectories as one padded batch, and what `split_batch` needs to undo it."""
    shapes = [attention_mask_of(item).shape for item in data]
    meta = TrajBatchMeta(len(data), [shape[0] for shape in shapes], [shape[1] for shape in shapes])
    return concat_padded_tensors(data), meta


def split_batch(result: Any, meta: TrajBatchMeta) -> Any:
    """The per-trajectory pieces of what was computed on a concatenated batch."""
    return split_and_unpad_tensor(result, meta.n_trajs, meta.traj_group_sizes, meta.traj_seqlens)


def batched_call(
    fn: Callable[..., Any], data: Sequence[Mapping[str, Any]], unpack: bool = True, pass_meta: bool = False
) -> Any:
    """Run `fn(batch)` (with `pass_meta`: `fn(batch, meta)`) on the trajectories as one batch, and split its result back.

    With `unpack=False` the result of `fn` is returned as it is.
    """
    batch, meta = concat_batch(data)
    result = fn(batch, meta) if pass_meta else fn(batch)
    return split_batch(result, meta) if unpack else result


def _same_keys(keys: Sequence[str], data: Mapping[str, Any], name: str) -> None:
    if data.keys() != set(keys):
        raise ValueError(
            f"{name} has other keys than the first: missing {sorted(set(keys) - set(data))}, "
            f"unexpected {sorted(set(data) - set(keys))}"
        )


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    array = np.asarray(value)
    tensor = torch.from_numpy(array)
    if isinstance(first, (bool, int, float)):
        has_float = array.dtype.kind == "f"
        return tensor.to(torch.float32 if has_float else _DTYPES[type(first)])
    return tensor
