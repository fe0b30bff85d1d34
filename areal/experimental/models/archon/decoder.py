# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The decoder: embedding, blocks, final norm, output matrix. Knows nothing of caches, packing, devices or parallelism.

Built by the embedded server (`areal.engine.native`). Dimensions: B rows, S tokens, E hidden width, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.args import DecoderArgs
from areal.experimental.models.archon.attention import Attend, causal_attention
from areal.experimental.models.archon.layers import Block, RMSNorm
from areal.experimental.models.archon.rope import Rope


class Decoder(nn.Module):
    """A causal language model described by `DecoderArgs`. `layers` is keyed by the global layer index."""

    def __init__(self, args: DecoderArgs) -> None:
        super().__init__()
        self.args = args
        self.tok_embeddings = nn.Embedding(args.vocab_size, args.hidden_size)
        self.rope = Rope(args.rope, args.head_dim)
        self.layers = nn.ModuleDict({str(i): Block(args, i) for i in range(args.num_layers)})
        self.norm = RMSNorm(args.hidden_size, args.norm_eps)
        self.output = None if args.tie_embeddings else nn.Linear(args.hidden_size, args.vocab_size, bias=False)

    def forward(
        self, tokens_BS: Tensor, positions_BS: Tensor | None = None, attend: Attend = causal_attention
    ) -> Tensor:
        """Logits `[B, S, V]` of int64 `tokens_BS`; positions default to 0..S-1 in every row."""
        return self.head(self.hidden(tokens_BS, positions_BS, attend))

    def hidden(
        self, tokens_BS: Tensor, positions_BS: Tensor | None = None, attend: Attend = causal_attention
    ) -> Tensor:
        """Normalised hidden states `[B, S, E]`, the input of `head`."""
        if positions_BS is None:
            positions_BS = torch.arange(tokens_BS.shape[1], device=tokens_BS.device)[None]
        x_BSE = self.tok_embeddings(tokens_BS)
        rope = self.rope(positions_BS, x_BSE.dtype)
        for block in self.layers.values():
            x_BSE = block(x_BSE, rope, attend)
        return self.norm(x_BSE)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits `[..., V]` of hidden states `[..., E]`."""
        weight = self.tok_embeddings.weight if self.output is None else self.output.weight
        return F.linear(hidden, weight)
