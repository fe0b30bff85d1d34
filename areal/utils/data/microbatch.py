# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Cuts a padded batch into packed micro-batches of bounded size, the same number of them on every rank.

Called by training engines. The loss must not depend on the cut, so rows travel whole: per-token and per-sequence entries
go with their rows, and ranks that have too few rows are filled up with dummies of zero weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from areal.utils.data.collectives import tensor_container_to
from areal.utils.data.distribute import make_dummy_trajectory
from areal.utils.data.packing import cumulative, pack_tensor_dict, token_index
from areal.utils.data.schema import attention_mask_of, kinds_of, row_lengths
from areal.utils.seqpack import get_allocate_fn

if TYPE_CHECKING:
    from areal.api.cli_args import MicroBatchSpec


@dataclass(frozen=True)
class MicroBatchList:
    """The packed micro-batches of one padded batch, the dummies last.

    `mbs`: packed dicts (see `pack_tensor_dict`). `group_lens`: real tokens of each. `forward_indices`: rows of the batch in
    the order of the micro-batches, without dummies; `backward_indices`: its inverse. `token_keys`: keys of `mbs` that run
    over tokens. `num_dummies`: trailing micro-batches that must get weight zero.
    """

    data: Mapping[str, Any]
    mb_spec: MicroBatchSpec
    mbs: list[dict[str, Any]]
    group_lens: list[int]
    forward_indices: list[int]
    backward_indices: list[int]
    token_keys: frozenset[str]
    num_dummies: int = 0

    def __len__(self) -> int:
        return len(self.mbs)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.mbs)

    @property
    def max_seqlen(self) -> int:
        """Length of the longest sequence, in tokens."""
        return max(mb["max_seqlen"] for mb in self.mbs)

    def is_dummy(self, position: int) -> bool:
        """Whether micro-batch `position` is there only to keep ranks in step."""
        return position >= len(self.mbs) - self.num_dummies

    def to(self, *args: Any, **kwargs: Any) -> MicroBatchList:
        """A copy whose micro-batches are moved as `Tensor.to` does; `data` stays where it is."""
        return replace(self, mbs=[tensor_container_to(mb, *args, **kwargs) for mb in self.mbs])

    def to_padded(self, outputs: Sequence[Tensor], fill: float = 0.0) -> Tensor:
        """Per-token results of the micro-batches ([T_i, ...] each) as one tensor [B, S, ...] in the order of `data`.

        Padding gets `fill`; results of dummies may be left out and are ignored.
        """
        num_real = len(self.mbs) - self.num_dummies
        flat = torch.cat(list(outputs[:num_real]))
        mask = attention_mask_of(self.data)
        lengths = row_lengths(mask)[self.forward_indices].tolist()
        index = torch.from_numpy(token_index(self.forward_indices, lengths, mask.shape[1])).to(flat.device)
        padded = flat.new_full((mask.numel(), *flat.shape[1:]), fill)
        return padded.index_copy(0, index, flat).unflatten(0, mask.shape)


def allocate_balanced_mbs(mb_spec: MicroBatchSpec, lens: Sequence[int]) -> list[list[int]]:
    """Indices of `lens` for each micro-batch: token counts within the cap, at least `n_mbs` micro-batches.

    Sorted within and across micro-batches. Fewer micro-batches than `n_mbs` or than a multiple of `n_mbs_divisor` come back
    when there are too few sequences. `ValueError` for a length above the cap.
    """
    return _allocate(mb_spec, lens, mb_spec.n_mbs or 1)


def allocate_balanced_mbs_synced(
    mb_spec: MicroBatchSpec, lens: Sequence[int], group: dist.ProcessGroup | None = None
) -> tuple[list[list[int]], int]:
    """`allocate_balanced_mbs` with the number of micro-batches that all ranks of `group` (None: this rank alone) run.

    Returns the local micro-batches and that common number, which is a multiple of `n_mbs_divisor`; the difference is to be
    filled with dummies. Every rank of the group must call this.
    """
    wanted = mb_spec.n_mbs or 1
    while True:
        groups = _allocate(mb_spec, lens, wanted)
        common = _max_over(group, max(len(groups), wanted))
        common = -(-common // mb_spec.n_mbs_divisor) * mb_spec.n_mbs_divisor
        # More groups than asked for can only come from the cap; asking for the larger number again ends the search,
        # because each round raises it and no rank has more groups than sequences.
        settled = len(groups) == min(common, len(lens))
        if not _max_over(group, 0 if settled else 1):
            return groups, common
        wanted = common


def split_padded_tensor_dict_into_mb_list(
    data: Mapping[str, Any], mb_spec: MicroBatchSpec, group: dist.ProcessGroup | None = None
) -> MicroBatchList:
    """Cut a right-padded batch into packed micro-batches by `mb_spec`.

    `granularity` adjacent rows stay together. Over `group` every rank gets the same number of micro-batches (None: no
    synchronisation; all ranks of the group must call). `ValueError` for rows that do not divide by the granularity, and
    for a unit above `max_tokens_per_mb`, naming its row.
    """
    mask = attention_mask_of(data)
    num_rows, seq_len = mask.shape
    size = mb_spec.granularity
    _check_rows(num_rows, size, group)
    lengths = row_lengths(mask).numpy()
    units = lengths.reshape(-1, size).sum(1).tolist()
    _check_cap(units, mb_spec, group)
    groups, num_mbs = allocate_balanced_mbs_synced(mb_spec, units, group)
    rows = [[unit * size + offset for unit in part for offset in range(size)] for part in groups]
    kinds = kinds_of(data, num_rows, seq_len)
    forward = [row for part in rows for row in part]
    mbs = _gather_rows(data, kinds, rows, forward, lengths, seq_len)
    num_dummies = num_mbs - len(mbs)
    if num_dummies:
        dummy = _dummy_micro_batch(data, size)
        mbs += [dict(dummy) for _ in range(num_dummies)]
    return MicroBatchList(
        data=data,
        mb_spec=mb_spec,
        mbs=mbs,
        group_lens=[int(mb["cu_seqlens"][-1]) for mb in mbs[: num_mbs - num_dummies]] + [0] * num_dummies,
        forward_indices=forward,
        backward_indices=np.argsort(forward).tolist(),
        token_keys=frozenset(key for key, kind in kinds.items() if kind == "token" and key != "attention_mask"),
        num_dummies=num_dummies,
    )


def _allocate(mb_spec: MicroBatchSpec, lens: Sequence[int], wanted: int) -> list[list[int]]:
    allocate = get_allocate_fn(mb_spec.packing_algorithm)
    capacity = math.inf if mb_spec.max_tokens_per_mb is None else mb_spec.max_tokens_per_mb
    return sorted(sorted(part) for part in allocate(lens, capacity, min(wanted, len(lens))))


def _max_over(group: dist.ProcessGroup | None, value: int) -> int:
    if group is None:
        return value
    device = "cuda" if dist.get_backend(group) == "nccl" else "cpu"
    tensor = torch.tensor(value, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group)
    return int(tensor)


def _check_rows(num_rows: int, granularity: int, group: dist.ProcessGroup | None) -> None:
    """Raise on all ranks when a rank has no rows or units that are not whole, as `_check_cap` does."""
    is_wrong = num_rows == 0 or num_rows % granularity != 0
    if not _max_over(group, int(is_wrong)):
        return
    wanted = f"the number of rows must be a positive multiple of the granularity {granularity}"
    if is_wrong:
        raise ValueError(f"{wanted}, got {num_rows}")
    raise ValueError(f"{wanted} on every rank, got another number on another rank ({num_rows} here)")


def _check_cap(units: Sequence[int], mb_spec: MicroBatchSpec, group: dist.ProcessGroup | None) -> None:
    """Raise on all ranks when a unit of any rank is above the cap: a rank that raised alone would leave the others waiting."""
    cap = mb_spec.max_tokens_per_mb
    if cap is None or _max_over(group, max(units)) <= cap:
        return
    advice = (
        "raise max_tokens_per_mb to at least the longest prompt plus max_new_tokens, or lower max_new_tokens or the "
        "dataset's max_length"
    )
    if max(units) <= cap:
        raise ValueError(f"another rank has more tokens in one unit than max_tokens_per_mb, which is {cap}; {advice}")
    row = int(np.argmax(units)) * mb_spec.granularity
    what = (
        f"row {row} holds" if mb_spec.granularity == 1 else f"rows {row}..{row + mb_spec.granularity - 1} together hold"
    )
    raise ValueError(f"{what} {max(units)} tokens, but max_tokens_per_mb is {cap}; {advice}")


def _gather_rows(
    data: Mapping[str, Any],
    kinds: Mapping[str, str],
    rows: Sequence[Sequence[int]],
    forward: Sequence[int],
    lengths: np.ndarray,
    seq_len: int,
) -> list[dict[str, Any]]:
    """Pack all rows in the order of the micro-batches with one gather per key, then cut: the micro-batches are views."""
    index = torch.from_numpy(token_index(forward, lengths[forward], seq_len))
    row_index = torch.tensor(forward)
    num_tokens = [int(lengths[part].sum()) for part in rows]
    num_rows = [len(part) for part in rows]
    mbs: list[dict[str, Any]] = [{} for _ in rows]
    for key, kind in kinds.items():
        value = data[key]
        pieces: Sequence[Any]
        if key == "attention_mask":
            continue
        if kind == "shared":
            pieces = [value] * len(rows)
        elif isinstance(value, list):
            pieces = [[value[row] for row in part] for part in rows]
        elif kind == "token":
            pieces = value.flatten(0, 1).index_select(0, index.to(value.device)).split(num_tokens)
        else:
            pieces = value.index_select(0, row_index.to(value.device)).split(num_rows)
        for mb, piece in zip(mbs, pieces, strict=True):
            mb[key] = piece
    device = data["attention_mask"].device
    for mb, part in zip(mbs, rows, strict=True):
        mb["cu_seqlens"] = cumulative(lengths[part]).to(device)
        mb["max_seqlen"] = int(lengths[part].max())
    return mbs


def _dummy_micro_batch(data: Mapping[str, Any], granularity: int) -> dict[str, Any]:
    row = make_dummy_trajectory(data)
    kinds = kinds_of(row, 1, 1)
    rows = {key: value if kinds[key] == "shared" else _repeat(value, granularity) for key, value in row.items()}
    return pack_tensor_dict(rows)


def _repeat(value: Any, times: int) -> Any:
    return value * times if isinstance(value, list) else value.repeat_interleave(times, 0)
