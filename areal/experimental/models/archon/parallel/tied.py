# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tied embeddings in a pipeline: the first stage embeds with the matrix, the last one's head is the same matrix.

Both ranks hold it, load it, save it under one name, and update it alike: their copies stay equal because both gradients
become the sum of the two. Made by `PipelinedModel`. Must never be counted twice, neither in norms nor in numbers of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.gradients import local_part
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder


class TiedMatrix:
    """The copy of one of the two ranks. `is_repeated`: whether it is that of the last stage, which does not count."""

    def __init__(self, matrix: nn.Parameter, peer: int, is_repeated: bool, group: dist.ProcessGroup) -> None:
        self.matrix = matrix
        self.is_repeated = is_repeated
        self._peer = peer
        self._group = group

    @classmethod
    def of(cls, stages: Sequence[ScoringDecoder], last_rank: int, dims: ArchonParallelDims) -> TiedMatrix | None:
        """That of a rank's stages; None where it needs no exchange: untied, or an inner rank."""
        for stage in stages:
            if stage.part.shares_embedding(stage.args):
                assert stage.tok_embeddings is not None
                peer = 0 if stage.part.has_head else last_rank
                matrix = dict(stage.tok_embeddings.named_parameters())["weight"]  # the attribute may be a view of it
                return cls(matrix, peer, stage.part.has_head, dims.get_group("pp"))
        return None

    def sum_gradients(self) -> None:
        """Add the other rank's gradient, once a step; both compute the same sum, bit by bit."""
        assert self.matrix.grad is not None, "a step reaches both ends of the pipeline"
        own = local_part(self.matrix.grad)
        sent = own.contiguous()
        other = torch.empty_like(sent)
        exchange = [
            dist.P2POp(dist.isend, sent, group=self._group, group_peer=self._peer),
            dist.P2POp(dist.irecv, other, group=self._group, group_peer=self._peer),
        ]
        for work in dist.batch_isend_irecv(exchange):
            work.wait()
        own.add_(other)
