# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The small invertible algebra of weight layouts: how the HF tensors of a rule become ours, and back.

Ops hold no sizes: those follow from the shapes of our parameters. All work on meta tensors too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Op(Protocol):
    """One step between the HF tensors of a rule and ours."""

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """From the HF side; `shapes` are those of our parameters, in the order of the rule."""
        ...

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """The inverse."""
        ...


@dataclass(frozen=True)
class Split:
    """One HF tensor holds several of ours one after another along `dim`."""

    dim: int = 0

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """See `Op`."""
        return list(tensors[0].split([shape[self.dim] for shape in shapes], dim=self.dim))

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """See `Op`."""
        return [torch.cat(tensors, dim=self.dim)]


@dataclass(frozen=True)
class Interleave:
    """One HF tensor holds n of ours alternating along `dim`: rows 0, n, 2n, ... are the first."""

    dim: int

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """See `Op`."""
        return list(tensors[0].unflatten(self.dim, (-1, len(shapes))).unbind(self.dim + 1))

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """See `Op`."""
        return [torch.stack(tensors, dim=self.dim + 1).flatten(self.dim, self.dim + 1)]


@dataclass(frozen=True)
class GroupedSplit:
    """One HF tensor is made of `num_groups` blocks along dim 0, each holding a share of every one of ours.

    For projections that are stored one key head after another ([q | k | v] of the first head, then of the second). `parts`:
    rows of the tensors that HF groups, for each of ours that holds several of them ([q | k | v] whole); None: one each.
    """

    num_groups: int
    parts: tuple[tuple[int, ...], ...] | None = None

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """See `Op`."""
        parts = tuple((shape[0],) for shape in shapes) if self.parts is None else self.parts
        grouped = tensors[0].unflatten(0, (self.num_groups, -1))
        pieces = iter(grouped.split([rows // self.num_groups for part in parts for rows in part], dim=1))
        return [torch.cat([next(pieces).flatten(0, 1) for _ in part]) for part in parts]

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """See `Op`."""
        parts = tuple((len(t),) for t in tensors) if self.parts is None else self.parts
        pieces = [piece for t, part in zip(tensors, parts, strict=True) for piece in t.split(part)]
        return [torch.cat([t.unflatten(0, (self.num_groups, -1)) for t in pieces], dim=1).flatten(0, 1)]


@dataclass(frozen=True)
class Join:
    """One of ours holds several HF tensors of `sizes` rows one after another along dim 0."""

    sizes: tuple[int, ...]

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """See `Op`."""
        return [torch.cat(tensors)]

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """See `Op`."""
        return list(tensors[0].split(self.sizes))


@dataclass(frozen=True)
class Stack:
    """Ours is the stack along a new dim 0 of HF tensors, one for each expert."""

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """See `Op`."""
        return [torch.stack(tensors)]

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """See `Op`."""
        return list(tensors[0].unbind(0))


@dataclass(frozen=True)
class Transpose:
    """Each HF tensor has two dims swapped (input-major matrices)."""

    dim0: int
    dim1: int

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """See `Op`."""
        return [t.transpose(self.dim0, self.dim1) for t in tensors]

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """See `Op`."""
        return [t.transpose(self.dim0, self.dim1).contiguous() for t in tensors]


@dataclass(frozen=True)
class Unsqueeze:
    """Each HF tensor has an extra dim of size one at `dim`."""

    dim: int

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """See `Op`."""
        return [t.squeeze(self.dim) for t in tensors]

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """See `Op`."""
        return [t.unsqueeze(self.dim) for t in tensors]


@dataclass(frozen=True)
class Chain:
    """Several ops, in the order from HF to ours."""

    ops: tuple[Op, ...]

    def to_ours(self, tensors: list[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """See `Op`."""
        for op in self.ops:
            tensors = op.to_ours(tensors, shapes)
        return tensors

    def to_hf(self, tensors: list[Tensor]) -> list[Tensor]:
        """See `Op`."""
        for op in reversed(self.ops):
            tensors = op.to_hf(tensors)
        return tensors
