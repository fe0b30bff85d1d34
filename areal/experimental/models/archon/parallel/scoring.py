# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A decoder whose forward ends in what losses are made of: log-probs and entropies of labels, or a critic's values.

`ArchonEngine` trains it, whole or one part a pipeline stage. Logits of all tokens never exist. Dimensions: N tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from areal.experimental.models.archon.model import ArchonModel
from areal.utils.functional.logit_rows import LogitShape
from areal.utils.functional.logprobs import DEFAULT_CHUNK_SIZE, linear_logprobs, linear_logprobs_entropy


class ScoringDecoder(ArchonModel):
    """An `ArchonModel` that scores labels.

    `tp_group`: tensor-parallel ranks; `vocab_group`: the same if they share the vocabulary. Set by `parallelize_decoder`.
    """

    tp_group: ProcessGroup | None = None
    vocab_group: ProcessGroup | None = None

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int | Tensor,
        tree_attn_meta: Any | None = None,
        labels: Tensor | None = None,
        temperature: float = 1.0,
        with_entropy: bool = True,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        prediction_rows: Tensor | None = None,
        num_real: int | None = None,
    ) -> Tensor:
        """Scores fp32 `[1, N, 2]` (log-prob, entropy), `[1, N, 1]` without entropy; a critic's values `[1, N, 1]`.

        An inner stage returns hidden states, and without labels a model its logits; see `ArchonModel.forward`.

        Args:
            labels: int64 `[1, N]`, the token each row predicts.
            temperature: divisor of the logits, > 0.
            with_entropy: whether to compute it; it costs one more pass over the logits.
            chunk_size: most rows of logits that exist at a time.
            prediction_rows: int64 `[U]`, the row each of U labels is predicted from, where sequences share rows: scores
                are `[1, U, 2]` then. None: one label a row.
            num_real: how many of the tokens are no padding, which stands at the end; None: all. See `TokenInfo`.
        """
        context = self.make_context(cu_seqlens, int(max_seqlen), tree_attn_meta)
        num_real_rows = None if num_real is None else self._own_rows(num_real, positions.shape[1])
        hidden_NE = self.run(tokens.squeeze(0), positions.squeeze(0), context, num_real_rows)
        if not self.part.has_head:
            # No view: zero-bubble schedules detach what a stage returned in place.
            return hidden_NE.unsqueeze(0).clone()
        if self.score is not None or labels is None:
            return torch.stack((self.head(hidden_NE),))
        if prediction_rows is not None:
            hidden_NE = hidden_NE.index_select(0, prediction_rows)
        shape = LogitShape(self.args.head.scale, self.args.head.softcap)
        arguments = (hidden_NE, self.head_weight, labels.squeeze(0), temperature, chunk_size, self.head_bias, shape)
        if with_entropy:
            columns = linear_logprobs_entropy(*arguments, self.vocab_group)
        else:
            columns = (linear_logprobs(*arguments, self.vocab_group),)
        # FSDP hooks the gradient of what a module returns, and wants that to be no view.
        return torch.stack([column.unsqueeze(0) for column in columns], dim=-1)

    def _own_rows(self, num_real: int, num_tokens: int) -> int:
        """How many of the rows that this sequence-parallel rank's feed-forwards see are real."""
        if self.tp_group is None:
            return num_real
        rows = num_tokens // self.tp_group.size()
        return min(max(num_real - self.tp_group.rank() * rows, 0), rows)
