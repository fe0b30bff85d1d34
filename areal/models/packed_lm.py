# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A HF causal LM that maps a packed micro-batch to the log-probs and entropies of its labels.

Built by the FSDP engine, which shards this module: the language-model head must run inside the root's forward, where
FSDP has its weight gathered. Must never change what the HF model computes; `verify_packing` proves that it does not.
Shapes: T packed tokens (rows), U predictions, D hidden size, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from areal.models.packed_attention.hf import AttentionChoice, attention_kwargs
from areal.models.packed_attention.layout import PackedLayout
from areal.utils.errors import ConfigError
from areal.utils.functional.logprobs import (
    gather_logprobs,
    gather_logprobs_entropy,
    linear_logprobs,
    linear_logprobs_entropy,
)

# Families whose logits are exactly `lm_head(base_model(...))`, each checked against HF in tests. For others the head may
# scale, cap or multiply: the HF forward makes their logits.
PLAIN_HEAD_FAMILIES = frozenset(
    {"gemma", "llama", "mistral", "mixtral", "olmo2", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3"}
)


def plain_head(model: PreTrainedModel) -> nn.Linear | None:
    """The output layer if the logits are nothing but its output for the base model's hidden states, else None."""
    head = model.get_output_embeddings()
    if model.config.model_type in PLAIN_HEAD_FAMILIES and type(head) is nn.Linear:
        return head
    return None


class PackedLM(nn.Module):
    """`forward` gives log-probs (and entropies) of labels under the HF model `self.hf`, without full logits if it can."""

    def __init__(self, hf_model: PreTrainedModel, attention: AttentionChoice, chunk_size: int) -> None:
        super().__init__()
        self.hf = hf_model
        self.attention = attention
        self.chunk_size = chunk_size
        self.has_fused_head = plain_head(hf_model) is not None

    def forward(
        self,
        input_ids: Tensor,
        layout: PackedLayout,
        labels: Tensor,
        temperature: float,
        with_entropy: bool,
        prediction_rows: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Log-probs of `labels` and, if asked for, entropies: float32 `[U]` each.

        Args:
            input_ids: int64 `[T]`, the sequences of `layout` one after another.
            layout: boundaries of the sequences.
            labels: int64 `[U]`, in [0, V).
            temperature: divisor of the logits, > 0.
            with_entropy: whether entropies are wanted.
            prediction_rows: int64 `[U]`, the row that each label is predicted from; None means U = T and row u. Needs the
                fused head.
        """
        if self.has_fused_head:
            hidden = self.hidden(input_ids, layout)
            if prediction_rows is not None:
                hidden = hidden.index_select(0, prediction_rows)
            head = self.hf.get_output_embeddings()
            arguments = (hidden, head.weight, labels, temperature, self.chunk_size, head.bias)
            return linear_logprobs_entropy(*arguments) if with_entropy else (linear_logprobs(*arguments), None)
        logits = self.hf(**self._inputs(input_ids, layout)).logits.squeeze(0)
        arguments = (logits, labels, temperature, self.chunk_size)
        return gather_logprobs_entropy(*arguments) if with_entropy else (gather_logprobs(*arguments), None)

    def hidden(self, input_ids: Tensor, layout: PackedLayout) -> Tensor:
        """Final hidden states of the base model: `[T, D]`."""
        return self.hf.base_model(**self._inputs(input_ids, layout)).last_hidden_state.squeeze(0)

    def _inputs(self, input_ids: Tensor, layout: PackedLayout) -> dict[str, object]:
        return {
            "input_ids": input_ids.unsqueeze(0),
            "position_ids": layout.position_ids().unsqueeze(0),
            "use_cache": False,
            **attention_kwargs(self.attention, layout),
        }


@torch.no_grad()
def verify_packing(model: PackedLM, config: PreTrainedConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Prove on a few tokens that packed sequences neither see each other nor start at a wrong position.

    `ConfigError` when they do: the model ignores what it is told about the boundaries, and training on packed batches
    would be silently wrong. Collective under FSDP.
    """
    vocab_size = config.get_text_config().vocab_size
    first, other, second = (torch.tensor(ids, device=device) % vocab_size for ids in ([5, 7, 11], [13, 2, 3], [17, 4]))
    was_training = model.training
    model.eval()

    def logp_of_second(before: list[Tensor]) -> Tensor:
        sequences = [*before, second]
        layout = PackedLayout.from_lengths([len(ids) for ids in sequences], device)
        ids = torch.cat(sequences)
        return model(ids, layout, ids, 1.0, False)[0][-len(second) :]

    alone, after_first, after_other = logp_of_second([]), logp_of_second([first]), logp_of_second([other])
    model.train(was_training)
    # Mixtures of experts multiply other rows together when other tokens come along, which rounds otherwise. What a
    # sequence sees of another one moves its log-probs by far more than these bounds.
    is_exact = dtype == torch.float32
    if not torch.allclose(after_first, after_other, rtol=0.0, atol=1e-4 if is_exact else 0.05):
        raise ConfigError(
            f"{type(model.hf).__name__} lets packed sequences see each other with attention {model.attention.name}: "
            f"log-probs {after_first.tolist()} became {after_other.tolist()}. Use another attn_impl"
        )
    if not torch.allclose(alone, after_first, rtol=0.0, atol=1e-3 if is_exact else 0.25):
        raise ConfigError(
            f"{type(model.hf).__name__} places packed sequences wrongly: log-probs {alone.tolist()} of a sequence alone "
            f"became {after_first.tolist()} behind another one. Use another attn_impl"
        )
