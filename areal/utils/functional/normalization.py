# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Centring and scaling of rewards `[B]` and advantages `[B, S]`, over the batch of all ranks or within groups.

Called by `areal.trainer.ppo.advantages`. Every rank joins every collective, also one without a single valid entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from areal.utils.functional.reduce import all_reduced

if TYPE_CHECKING:
    import torch.distributed as dist

    from areal.api.cli_args import NormConfig

LEVELS = ("batch", "group", None)


class Normalization:
    """`(x - mean) / (std + eps)` on the valid entries, 0 elsewhere.

    Level of the mean and of the std, each: "batch" (all ranks together), "group" (rows of one prompt), None (off).
    - mean: masked mean of the level's entries. With `mean_leave1out` the mean of the *other* entries,
      `(sum - x) / (count - 1)` (RLOO, Ahmadian et al. 2024); a group of one row is its own baseline, so gives 0.
    - std: `sqrt(sum (x - mean)^2 / (count - 1))`, `/ count` when not `std_unbiased`; 1 where undefined (one entry, or
      one row). Without a mean it is the uncentred second moment.
    - eps is added only when `std_level` is set.
    """

    def __init__(self, config: NormConfig) -> None:
        for level in (config.mean_level, config.std_level):
            if level not in LEVELS:
                raise ValueError(f"expected mean_level and std_level to be one of {LEVELS}, got {level!r}")
        self.config = config

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        loss_mask: Tensor | None = None,
        high_precision: bool = True,
        reduce_group: dist.ProcessGroup | None = None,
        group_sizes: Sequence[int] | None = None,
    ) -> Tensor:
        """Normalise `x`; float32 out, `x` is not changed.

        Args:
            x: `[B]` or `[B, S]`.
            loss_mask: valid entries, shape of `x`; None means all.
            high_precision: compute in float64.
            reduce_group: ranks of the batch level; None is the default group. A collective when a level is "batch".
            group_sizes: rows of each group, consecutive; None means `config.group_size` rows each.

        Raises:
            ValueError: group sizes that do not add up to B.
        """
        cfg = self.config
        mask = torch.ones_like(x, dtype=torch.bool) if loss_mask is None else loss_mask.bool()
        x = torch.where(mask, x.to(torch.float64 if high_precision else torch.float32), 0)
        totals = _Totals(self._group_of_row(x, group_sizes), reduce_group)

        mean = self._mean(x, mask, totals)
        centred = torch.where(mask, x - mean, 0)
        if cfg.std_level is None:
            return centred.float()
        return (centred / (self._std(centred, mask, totals) + cfg.eps)).float()

    def _group_of_row(self, x: Tensor, group_sizes: Sequence[int] | None) -> Tensor:
        num_rows = x.shape[0]
        if "group" not in (self.config.mean_level, self.config.std_level):
            return torch.zeros(num_rows, dtype=torch.long, device=x.device)
        if group_sizes is None:
            size = self.config.group_size
            if num_rows % size:
                raise ValueError(
                    f"expected a multiple of group_size={size} rows, got {num_rows}: pass the actual group_sizes"
                )
            group_sizes = [size] * (num_rows // size)
        if sum(group_sizes) != num_rows or any(size <= 0 for size in group_sizes):
            raise ValueError(f"expected positive group_sizes that add up to {num_rows} rows, got {list(group_sizes)}")
        sizes = torch.as_tensor(group_sizes, device=x.device)
        return torch.repeat_interleave(torch.arange(len(sizes), device=x.device), sizes, output_size=num_rows)

    def _mean(self, x: Tensor, mask: Tensor, totals: _Totals) -> Tensor:
        level = self.config.mean_level
        if level is None:
            return torch.zeros_like(x)
        total, count, num_rows = totals(level, x, mask)
        if not self.config.mean_leave1out:
            return total / count.clamp(min=1)
        others = torch.where(count > 1, (total - x) / (count - 1).clamp(min=1), 0)
        return torch.where(num_rows == 1, x, others) if level == "group" else others

    def _std(self, centred: Tensor, mask: Tensor, totals: _Totals) -> Tensor:
        level = self.config.std_level
        total, count, num_rows = totals(level, centred.square(), mask)
        degrees = count - 1 if self.config.std_unbiased else count
        std = torch.where(degrees > 0, (total / degrees.clamp(min=1)).sqrt(), 1)
        if level == "group" and self.config.std_unbiased:
            std = torch.where(num_rows == 1, 1, std)
        return std


class _Totals:
    """Sums over the scope (batch or group) of each row, shaped to broadcast against `x`."""

    def __init__(self, group_of_row: Tensor, reduce_group: dist.ProcessGroup | None) -> None:
        self._group_of_row = group_of_row
        self._reduce_group = reduce_group

    def __call__(self, level: str | None, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of `x` (0 where invalid), number of valid entries and number of rows that have one, in the scope of each row."""
        num_rows = x.shape[0]
        counts = mask.reshape(num_rows, -1).sum(1).to(x.dtype)
        per_row = torch.stack([x.reshape(num_rows, -1).sum(1), counts, (counts > 0).to(x.dtype)], 1)
        if level == "batch":
            scope = all_reduced(per_row.sum(0), self._reduce_group).expand(num_rows, 3)
        else:
            scope = torch.zeros_like(per_row).index_add(0, self._group_of_row, per_row)[self._group_of_row]
        total, count, rows = scope.view(num_rows, 3, *[1] * (x.ndim - 1)).unbind(1)
        return total, count, rows
