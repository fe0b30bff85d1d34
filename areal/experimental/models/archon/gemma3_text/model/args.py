# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Gemma 3 (text): norms with weights around one, on both sides of both branches."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.gemma3_text.model.rope import ropes
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    by_layer_type,
    ffn_args,
    gemma_attention,
    sandwich_layers,
)
from areal.experimental.models.archon.model_args import (
    DecoderArgs,
    EmbeddingArgs,
    HeadArgs,
    NormArgs,
    QKNormArgs,
)


class Gemma3TextModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Gemma3TextConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"), offset=1.0, weight_in_fp32=True)
            hf.expect("attn_logit_softcapping", None)  # HF has the field but never caps
            attention = gemma_attention(hf, None, qk_norm=QKNormArgs(norm=norm))
            tables = ropes(hf, attention.head_dim)
            hf.ignore("_sliding_window_pattern", "sliding_window_pattern")  # made into layer_types by HF
            layers = sandwich_layers(
                hf, by_layer_type(hf, attention, tables), ffn_args(hf, act_field="hidden_activation"), norm
            )
            return cls(
                **decoder_fields(hf, is_critic),
                layers=layers,
                final_norm=norm,
                ropes=tables,
                embedding=EmbeddingArgs(scale=hf("hidden_size") ** 0.5),
                head=HeadArgs(softcap=hf("final_logit_softcapping")),
            )
