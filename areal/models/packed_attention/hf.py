# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Packed attention for HF models: registers our kernels with transformers and picks one for a model, once, at start-up.

A kernel is registered under a name in transformers' AttentionInterface but not in its mask interface, so HF builds no
`[T, T]` mask; it finds the sequence boundaries in the keyword argument `packed_layout`, which HF models hand on to
their attention layers. Called by the engine that builds the model. Must never pick a kernel that ignores something the
model needs (windows, soft caps, sinks, dropout).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from areal.models.packed_attention.dense import dense_packed_attention
from areal.models.packed_attention.layout import PackedLayout
from areal.models.packed_attention.varlen import MAX_HEAD_DIM, varlen_packed_attention
from areal.utils.errors import ConfigError

DENSE = "areal_dense"
VARLEN = "areal_varlen"
_FLASH_IMPLS = {"flash_attention_2": is_flash_attn_2_available, "flash_attention_3": is_flash_attn_3_available}
# Layer types of HF configs whose attention is softmax attention within a sequence.
_SOFTMAX_LAYERS = {"full_attention", "sliding_attention"}
_BLOCK_LAYERS = {"chunked_attention"}
# Families with learned attention sinks, which only HF's own kernels know.
_SINK_MODELS = {"gpt_oss"}


@dataclass(frozen=True)
class AttentionNeeds:
    """What a model asks of an attention kernel beyond causal softmax attention with grouped heads."""

    softcap: float | None
    sinks: bool
    chunked: bool
    dropout: float
    head_size: int

    @classmethod
    def of(cls, model_class: type[PreTrainedModel], config: PreTrainedConfig) -> AttentionNeeds:
        """Read the needs off a model's config; `ConfigError` for models that cannot run on packed sequences."""
        fields = config.to_dict()
        if not model_class._supports_attention_backend:
            raise ConfigError(
                f"expected a model whose attention goes through transformers' AttentionInterface, got "
                f"{model_class.__name__}: its layers would mix packed sequences. Use a model family that supports it"
            )
        layer_types = set(fields.get("layer_types") or [])
        if unknown := layer_types - _SOFTMAX_LAYERS - _BLOCK_LAYERS:
            raise ConfigError(
                f"expected softmax attention layers, got {sorted(unknown)} in {model_class.__name__}: such layers carry "
                "state across packed sequences. Use a model without them"
            )
        default_head_size = config.hidden_size // config.num_attention_heads
        return cls(
            softcap=fields.get("attn_logit_softcapping"),
            sinks=fields["model_type"] in _SINK_MODELS,
            chunked=bool(layer_types & _BLOCK_LAYERS),
            dropout=float(fields.get("attention_dropout") or fields.get("attn_pdrop") or 0.0),
            head_size=int(fields.get("qk_head_dim") or fields.get("head_dim") or default_head_size),
        )

    def unmet_by_packed_kernels(self) -> str | None:
        """Why our own kernels cannot serve this model, or None if they can."""
        if self.softcap is not None:
            return f"attention scores are soft-capped at {self.softcap}"
        if self.sinks:
            return "attention has learned sinks"
        if self.chunked:
            return "attention is chunked"
        return f"attention dropout is {self.dropout}" if self.dropout > 0.0 else None


@dataclass(frozen=True)
class AttentionChoice:
    """A kernel by its name in transformers, and why it was taken."""

    name: str
    reason: str

    @property
    def is_packed(self) -> bool:
        """Whether the kernel reads `packed_layout`; otherwise HF derives a block mask from the position ids."""
        return self.name in (DENSE, VARLEN)


def choose_attention(
    attn_impl: str, needs: AttentionNeeds, device: torch.device, dtype: torch.dtype
) -> AttentionChoice:
    """The kernel for `TrainEngineConfig.attn_impl` on a device; `ConfigError` when the one asked for cannot serve."""
    unmet = needs.unmet_by_packed_kernels()
    if attn_impl == "auto":
        if unmet is not None:
            # SDPA knows neither soft caps nor sinks.
            name = "sdpa" if needs.softcap is None and not needs.sinks else "eager"
            return AttentionChoice(name, f"{unmet}: HF's own kernel with a block mask")
        if device.type != "cuda":
            return AttentionChoice(DENSE, "length-bucketed matrix products")
        if dtype not in (torch.bfloat16, torch.float16) or needs.head_size > MAX_HEAD_DIM:
            reason = f"varlen kernels take 16-bit floats and heads up to {MAX_HEAD_DIM}, not {dtype}"
            return AttentionChoice(DENSE, f"{reason} and {needs.head_size}")
        return AttentionChoice(VARLEN, "torch's variable-length flash attention")
    if attn_impl in _FLASH_IMPLS:
        if device.type != "cuda" or not _FLASH_IMPLS[attn_impl]():
            raise ConfigError(
                f"expected a CUDA device with the package of attn_impl={attn_impl}, got device {device.type} with "
                f"available={_FLASH_IMPLS[attn_impl]()}; use attn_impl=auto or install it"
            )
        if needs.sinks or needs.chunked:
            raise ConfigError(f"attn_impl={attn_impl} cannot serve this model because {unmet}; use attn_impl=auto")
        return AttentionChoice(attn_impl, "as configured")
    if attn_impl == "sdpa" and (needs.softcap is not None or needs.sinks):
        raise ConfigError(f"attn_impl=sdpa cannot serve this model because {unmet}; use attn_impl=eager or auto")
    if attn_impl == "flex_attention" and device.type != "cuda":
        raise ConfigError(
            "expected a CUDA device for attn_impl=flex_attention (no backward on CPU); use attn_impl=auto"
        )
    return AttentionChoice(attn_impl, "as configured")


def attention_kwargs(choice: AttentionChoice, layout: PackedLayout) -> dict[str, Any]:
    """Keyword arguments of an HF model's forward that tell the chosen kernel the sequence boundaries."""
    if choice.is_packed:
        return {"packed_layout": layout}
    if choice.name in _FLASH_IMPLS:
        lengths = {"max_length_q": layout.max_seqlen, "max_length_k": layout.max_seqlen}
        return {"cu_seq_lens_q": layout.cu_seqlens, "cu_seq_lens_k": layout.cu_seqlens, **lengths}
    return {}  # HF finds the boundaries where the position ids start over


def _dense_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    layout = _layout_of(module, query, kwargs)
    tokens_first = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    output = dense_packed_attention(*tokens_first, layout, kwargs.get("scaling"), kwargs.get("sliding_window"))
    return output.unsqueeze(0), None


def _varlen_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    layout = _layout_of(module, query, kwargs)
    tokens_first = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    output = varlen_packed_attention(
        *tokens_first, layout.cu_seqlens, layout.max_seqlen, kwargs.get("scaling"), kwargs.get("sliding_window")
    )
    return output.unsqueeze(0), None


def _layout_of(module: nn.Module, query: Tensor, kwargs: dict[str, Any]) -> PackedLayout:
    layout = kwargs.get("packed_layout")
    if not isinstance(layout, PackedLayout):
        raise TypeError(
            f"{type(module).__name__} got no packed_layout: its model does not hand keyword arguments on to attention "
            "layers, or it was called outside an areal engine. Use attn_impl=sdpa"
        )
    if query.shape[0] != 1 or query.shape[2] != layout.num_tokens:
        raise ValueError(
            f"expected queries [1, H, {layout.num_tokens}, D] for the packed layout, got {tuple(query.shape)}"
        )
    return layout


AttentionInterface.register(DENSE, _dense_forward)
AttentionInterface.register(VARLEN, _varlen_forward)
