# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The decoder: embedding, blocks, final norm, output matrix. Knows nothing of caches, packing, devices or parallelism.

Built by the embedded server (`areal.engine.native`). Dimensions: N tokens, E hidden width, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.args import DecoderArgs
from areal.experimental.models.archon.attention import Attend
from areal.experimental.models.archon.layers import Block, RMSNorm
from areal.experimental.models.archon.rope import Rope


class Decoder(nn.Module):
    """A causal language model described by `DecoderArgs`. `layers` is keyed by the global layer index."""

    def __init__(self, args: DecoderArgs) -> None:
        super().__init__()
        self.args = args
        # Not initialised: weights always come from a checkpoint, and on the meta device torch's normal_ imports its compiler,
        # which doubles the start of a server.
        self.tok_embeddings = nn.Embedding.from_pretrained(torch.empty(args.vocab_size, args.hidden_size), freeze=False)
        self.rope = Rope(args.rope, args.head_dim)
        self.layers = nn.ModuleDict({str(i): Block(args, i) for i in range(args.num_layers)})
        self.norm = RMSNorm(args.hidden_size, args.norm_eps)
        self.output = None if args.tie_embeddings else nn.Linear(args.hidden_size, args.vocab_size, bias=False)

    def forward(self, tokens_N: Tensor, positions_N: Tensor, attend: Attend) -> Tensor:
        """Logits `[N, V]` of int64 tokens at int64 positions; `attend` knows which tokens belong together."""
        return self.head(self.hidden(tokens_N, positions_N, attend))

    def hidden(self, tokens_N: Tensor, positions_N: Tensor, attend: Attend) -> Tensor:
        """Normalised hidden states `[N, E]`, the input of `head`."""
        x_NE = self.tok_embeddings(tokens_N)
        rope = self.rope(positions_N, x_NE.dtype)
        for block in self.layers.values():
            x_NE = block(x_NE, rope, attend)
        return self.norm(x_NE)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits `[..., V]` of hidden states `[..., E]`."""
        weight = self.tok_embeddings.weight if self.output is None else self.output.weight
        return F.linear(hidden, weight)
