# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a decoder is made of, and the part of the mapping from an HF config that all families share.

A family's `spec.py` calls `dense_args_from_hf` with its own options. A config that asks for something the layers do not
compute raises `UnsupportedConfig` with the field's name: the caller then serves or trains the HF module instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from areal.utils.errors import ConfigError


class UnsupportedConfig(ConfigError):
    """The HF config asks for a computation that Archon's layers do not have; `field` names the entry."""

    def __init__(self, field: str, expected: str, got: object) -> None:
        super().__init__(field, expected, got)
        self.field = field
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return (
            f"Archon cannot run this model: {self.field} must be {self.expected}, got {self.got!r}; use the HF module"
        )


@dataclass(frozen=True, kw_only=True)
class RopeArgs:
    """Rotary embedding over the whole head, half-split style. `kind` is `default`, `linear` or `llama3`.

    `factor` stretches positions (linear) or the long wavelengths (llama3); the other three fields are llama3's.
    """

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 0


@dataclass(frozen=True, kw_only=True)
class DecoderArgs:
    """A pre-norm decoder: RMSNorm, rotary GQA attention, gated SiLU feed-forward, tied or own output matrix."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    rope: RopeArgs
    max_positions: int
    tie_embeddings: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False


def dense_args_from_hf(
    config: Mapping[str, Any], *, qkv_bias: bool, out_bias: bool, mlp_bias: bool, qk_norm: bool
) -> DecoderArgs:
    """Read `PreTrainedConfig.to_dict()` of a Llama-like model; raises `UnsupportedConfig` naming the field."""
    _require(config, "hidden_act", "silu")
    _require(config, "attention_dropout", 0.0)
    _require(config, "quantization_config", None)
    _require_full_attention(config)
    num_heads = config["num_attention_heads"]
    return DecoderArgs(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=num_heads,
        num_kv_heads=config.get("num_key_value_heads") or num_heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // num_heads,
        norm_eps=config["rms_norm_eps"],
        rope=rope_args_from_hf(config["rope_parameters"]),
        max_positions=config["max_position_embeddings"],
        tie_embeddings=config["tie_word_embeddings"],
        qkv_bias=qkv_bias,
        out_bias=out_bias,
        mlp_bias=mlp_bias,
        qk_norm=qk_norm,
    )


def rope_args_from_hf(parameters: Mapping[str, Any]) -> RopeArgs:
    """Read transformers' `rope_parameters` (5.x layout); unknown types and partial rotation are refused by name."""
    if "rope_theta" not in parameters:
        raise UnsupportedConfig("rope_parameters", "one table with rope_theta for all layers", dict(parameters))
    kind = parameters.get("rope_type", "default")
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        field = "rope_parameters.partial_rotary_factor"
        raise UnsupportedConfig(field, "1.0", parameters["partial_rotary_factor"])
    theta = float(parameters["rope_theta"])
    if kind == "default":
        return RopeArgs(theta=theta)
    if kind == "linear":
        return RopeArgs(theta=theta, kind=kind, factor=float(parameters["factor"]))
    if kind == "llama3":
        return RopeArgs(
            theta=theta,
            kind=kind,
            factor=float(parameters["factor"]),
            low_freq_factor=float(parameters["low_freq_factor"]),
            high_freq_factor=float(parameters["high_freq_factor"]),
            original_max_positions=int(parameters["original_max_position_embeddings"]),
        )
    raise UnsupportedConfig("rope_parameters.rope_type", "one of default, linear, llama3", kind)


def _require(config: Mapping[str, Any], field: str, value: object) -> None:
    if config.get(field, value) != value:
        raise UnsupportedConfig(field, repr(value), config[field])


def _require_full_attention(config: Mapping[str, Any]) -> None:
    kinds = set(config.get("layer_types") or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UnsupportedConfig("layer_types", "full_attention in every layer", sorted(kinds))
