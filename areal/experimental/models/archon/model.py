# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The Archon decoder: embedding, blocks, final norm, head; the whole of it or the part of one pipeline stage.

Knows nothing of caches, packing, devices or parallelism. Built on the meta device and filled from a checkpoint, or by
`init_weights`. Dimensions: N tokens, E hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.base import BaseArchonModel
from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.contexts.protocol import MixingContext, TokenInfo
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.modules.block import Block
from areal.experimental.models.archon.modules.norm import Norm
from areal.experimental.models.archon.modules.rope import Rope
from areal.experimental.models.archon.roles import Role

ContextFactory = Callable[[Tensor, int, Any], MixingContext]
"""From `(cu_seqlens, max_seqlen, tree_attn_meta)` to the context of a packed micro-batch."""


@dataclass(frozen=True)
class ModelPart:
    """Which part of a decoder a pipeline stage holds: layers `[first, last)`, the embedding, the final norm and head."""

    first_layer: int
    last_layer: int
    has_embedding: bool
    has_head: bool

    @classmethod
    def whole(cls, args: DecoderArgs) -> ModelPart:
        """All of it."""
        return cls(0, args.num_layers, True, True)

    def has_tied_head(self, args: DecoderArgs) -> bool:
        """Whether its head is the embedding's matrix."""
        return self.has_head and args.tie_embeddings and not args.is_critic

    def shares_embedding(self, args: DecoderArgs) -> bool:
        """Whether two stages hold the embedding's matrix, this one and that of the other end."""
        return args.tie_embeddings and not args.is_critic and self.has_embedding != self.has_head


class ArchonModel(BaseArchonModel):
    """A causal decoder described by `DecoderArgs`. `layers` is keyed by the global layer index, on every stage.

    `tok_embeddings`, `norm`, `output` (language model) and `score` (critic) are None where the part or the kind of model
    has none. With tied embeddings the head is the embedding's matrix, which a stage with either holds, and `output` is its
    bias or None.
    """

    def __init__(self, args: DecoderArgs, part: ModelPart | None = None) -> None:
        super().__init__()
        part = ModelPart.whole(args) if part is None else part
        self.args, self.part = args, part
        self.tok_embeddings = _embedding(args) if part.has_embedding or part.has_tied_head(args) else None
        self.pos_embeddings = _position_embedding(args) if part.has_embedding else None
        norm = args.embedding.norm if part.has_embedding else None
        self.embedding_norm = None if norm is None else Norm(norm, args.hidden_size)
        self.ropes = nn.ModuleDict({name: Rope(rope) for name, rope in args.ropes.items()})
        self.layers = nn.ModuleDict({str(i): Block(args, i) for i in range(part.first_layer, part.last_layer)})
        self.norm = Norm(args.final_norm, args.hidden_size) if part.has_head else None
        self.output = _output(args, is_tied=part.has_tied_head(args)) if part.has_head and not args.is_critic else None
        self.score = nn.Linear(args.hidden_size, 1, bias=False) if part.has_head and args.is_critic else None
        self.make_context: ContextFactory = partial(PackedContext.of, args)

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        return {
            "tok_embeddings": Role.EMBEDDING,
            "pos_embeddings": Role.POSITIONS,
            "embedding_norm": Role.TOKEN_NORM,
            "norm": Role.TOKEN_NORM,
            "output": Role.OUTPUT,
            "score": Role.REPLICATED,
        }

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int | Tensor,
        tree_attn_meta: Any | None = None,
    ) -> Tensor:
        """Logits `[1, N, V]` (critic: values `[1, N, 1]`; an inner stage: hidden states `[1, N, E]`).

        Args:
            tokens: int64 `[1, N]`, or hidden states `[1, N, E]` of the stage before.
            positions: int64 `[1, N]`.
            cu_seqlens: int32 `[n + 1]`, boundaries of the n packed sequences.
            max_seqlen: longest of them.
            tree_attn_meta: which tokens see which where sequences share prefixes; see `contexts.packed`.
        """
        context = self.make_context(cu_seqlens, int(max_seqlen), tree_attn_meta)
        x_NE = self.run(tokens.squeeze(0), positions.squeeze(0), context)
        return (self.head(x_NE) if self.part.has_head else x_NE).unsqueeze(0)

    def run(self, x: Tensor, positions_N: Tensor, context: MixingContext, num_real_rows: int | None = None) -> Tensor:
        """Hidden states `[N, E]` behind this part (normalised if it has the head) of tokens `[N]` or hidden states.

        `num_real_rows`: see `TokenInfo`; padding counts neither in loads of experts nor in their losses.
        """
        x_NE = self.embed(x, positions_N) if self.part.has_embedding else x
        ropes = self.rope_tables(positions_N, x_NE.dtype, context)
        info = TokenInfo(positions_N, ropes, context, num_real_rows)
        for block in self.layers.values():
            x_NE = block(x_NE, info)
        return x_NE if self.norm is None else self.norm(x_NE)

    def embed(self, tokens_N: Tensor, positions_N: Tensor) -> Tensor:
        """Embeddings `[N, E]` as the first block sees them."""
        assert self.tok_embeddings is not None, "this part has no embedding"
        x_NE = self.tok_embeddings(tokens_N)
        if (scale := self.args.embedding.scale) != 1.0:
            # Rounded first, as HF does: gemma's checkpoints were trained with a bf16 scale.
            x_NE = x_NE * torch.tensor(scale, dtype=x_NE.dtype, device=x_NE.device)
        if self.pos_embeddings is not None:
            # A server's free slots have positions outside the table; longer sequences are refused where batches are made.
            last = self.args.max_positions - 1
            x_NE = x_NE + self.pos_embeddings(positions_N.clamp(0, last) + self.args.embedding.position_offset)
        return x_NE if self.embedding_norm is None else self.embedding_norm(x_NE)

    def rope_tables(
        self, positions_N: Tensor, dtype: torch.dtype, context: MixingContext
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """The rotary tables of all layers, each computed once."""
        return {name: rope(positions_N, dtype, context.sequence_lengths) for name, rope in self.ropes.items()}

    def head(self, hidden: Tensor) -> Tensor:
        """Logits `[..., V]` of normalised hidden states `[..., E]`; of a critic, values `[..., 1]`."""
        if self.score is not None:
            return self.score(hidden)
        logits = nn.functional.linear(hidden, self.head_weight, self.head_bias)
        return self.shape_logits(logits)

    def shape_logits(self, logits: Tensor) -> Tensor:
        """Scale and soft cap of the head, elementwise."""
        head = self.args.head
        if head.scale != 1.0:
            logits = logits * head.scale
        if head.softcap is not None:
            logits = torch.tanh(logits / head.softcap) * head.softcap
        return logits

    @property
    def head_weight(self) -> Tensor:
        """The output matrix `[V, E]`."""
        holder = self.tok_embeddings if self.part.has_tied_head(self.args) else self.output
        assert isinstance(holder, nn.Embedding | nn.Linear), "this part has no head"
        return holder.weight

    @property
    def head_bias(self) -> Tensor | None:
        """The output bias `[V]`."""
        return None if self.output is None else self.output.bias

    def init_weights(self) -> None:
        """Random weights: normal with `init_std` for matrices, neutral norms, and what a layer's own method says."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Embedding):
                    nn.init.normal_(module.weight, std=self.args.init_std)
                    if isinstance(module, nn.Linear) and module.bias is not None:
                        nn.init.zeros_(module.bias)
                elif module is not self and "init_weights" in type(module).__dict__:
                    module.init_weights()

    def init_buffers(self, buffer_device: torch.device) -> None:
        """Move all buffers. Those that no checkpoint holds have their values from the start, also on the meta device."""
        for module in self.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = buffer.to(buffer_device)

    def fuse(self) -> None:
        """Fuse projections that read the same input: faster decoding, no training afterwards."""
        for module in self.modules():
            if module is not self and "fuse" in type(module).__dict__:
                module.fuse()


class OutputBias(nn.Module):
    """What a head with the embedding's matrix has of its own: a bias `[V]`."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(vocab_size))

    def init_weights(self) -> None:
        """Zero."""
        nn.init.zeros_(self.bias)


def _output(args: DecoderArgs, is_tied: bool) -> nn.Linear | OutputBias | None:
    if is_tied:
        return OutputBias(args.vocab_size) if args.head.bias else None
    return nn.Linear(args.hidden_size, args.vocab_size, bias=args.head.bias)


def _embedding(args: DecoderArgs) -> nn.Embedding:
    # Not initialised: on the meta device torch's normal_ imports its compiler, which doubles the start of a server.
    return nn.Embedding.from_pretrained(torch.empty(args.vocab_size, args.hidden_size), freeze=False)


def _position_embedding(args: DecoderArgs) -> nn.Embedding | None:
    if not args.embedding.has_positions:
        return None
    num_rows = args.max_positions + args.embedding.position_offset
    return nn.Embedding.from_pretrained(torch.empty(num_rows, args.hidden_size), freeze=False)
