# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of reading an HF config that families share: sizes, heads, activations, layer types, rotary tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_args import Activation, RopeArgs
from areal.experimental.models.archon.modules.rope_frequencies import yarn_mscale

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "xielu": "xielu",
}
# transformers' names of rope parameters that have the same meaning here.
_ROPE_FLOATS = {
    "factor": "factor",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "mscale": "mscale",
    "mscale_all_dim": "mscale_all_dim",
    "attention_factor": "attention_factor",
}
_ROPE_KINDS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional")
_SCALED_KINDS = ("yarn", "longrope")
"""Those with a factor of attention, and whose scaling is by the ratio of lengths."""
# Sections of multimodal positions: text has the same position in each.
_ROPE_IGNORED = {"mrope_section", "mrope_interleaved", "type", "finetuned"}


def decoder_fields(hf: HFFields, is_critic: bool) -> dict[str, Any]:
    """The fields of `DecoderArgs` that every family reads in the same way."""
    return {
        "vocab_size": hf("vocab_size"),
        "hidden_size": hf("hidden_size"),
        "max_positions": hf("max_position_embeddings"),
        "tie_embeddings": bool(hf("tie_word_embeddings", False)) and not is_critic,
        "is_critic": is_critic,
        "init_std": hf("initializer_range", 0.02),
    }


def head_fields(hf: HFFields) -> dict[str, int]:
    """Numbers and widths of heads for `AttentionArgs`; a missing head_dim is hidden_size / heads."""
    num_heads = hf("num_attention_heads")
    head_dim = hf("head_dim", None) or hf("hidden_size") // num_heads
    return {
        "num_heads": num_heads,
        "num_kv_heads": hf("num_key_value_heads", None) or num_heads,
        "head_dim": head_dim,
        "value_head_dim": head_dim,
    }


def activation(hf: HFFields, field: str = "hidden_act") -> Activation:
    """The activation a field names."""
    name = hf(field)
    if name not in _ACTIVATIONS:
        raise UnsupportedConfig(field, f"one of {', '.join(_ACTIVATIONS)}", name)
    return _ACTIVATIONS[name]


def rounded_up(size: float, multiple: int) -> int:
    """The whole part of a size, rounded up to a multiple: LLaMA's rule for widths of a gated feed-forward."""
    return -(-int(size) // multiple) * multiple


def layer_types(hf: HFFields, *known: str) -> tuple[str, ...]:
    """`layer_types` of all layers (all of the first kind where the config has none); others than `known` are refused."""
    num_layers = hf("num_hidden_layers")
    types = tuple(hf("layer_types", None) or [known[0]] * num_layers)
    if len(types) != num_layers:
        raise UnsupportedConfig("layer_types", f"{num_layers} entries (num_hidden_layers)", len(types))
    for kind in types:
        if kind not in known:
            raise UnsupportedConfig("layer_types", f"made of {', '.join(known)}", kind)
    return types


def rope_tables(
    hf: HFFields, head_dim: int, style: str = "half", *, read_elsewhere: tuple[str, ...] = (), fixed_alpha: bool = False
) -> dict[str, RopeArgs]:
    """`rope_parameters` as tables: one named `default`, or one for each layer type that has its own.

    `read_elsewhere` are entries that are no part of a table and that the family reads itself. `fixed_alpha`: the family reads
    dynamic tables with an alpha as tables whose base grows by it, as Hunyuan does.
    """
    parameters = hf("rope_parameters")
    if "rope_type" in parameters or "rope_theta" in parameters:
        tables = {"default": parameters}
    else:
        tables = {kind: table for kind, table in parameters.items() if table}
    return {
        kind: _rope_args(
            hf,
            {name: value for name, value in table.items() if name not in read_elsewhere},
            head_dim,
            style,
            "rope_parameters" if table is parameters else f"rope_parameters.{kind}",
            fixed_alpha,
        )
        for kind, table in tables.items()
    }


def yarn_score_factor(hf: HFFields) -> float:
    """What DeepSeek multiplies the scale of scores by under scaled rotary tables: mscale(factor, mscale_all_dim)²."""
    table = hf("rope_parameters")
    if table.get("rope_type", "default") == "default" or not table.get("mscale_all_dim"):
        return 1.0
    return yarn_mscale(table["factor"], table["mscale_all_dim"]) ** 2


def expect_rope_kinds(tables: Mapping[str, RopeArgs], *kinds: str) -> None:
    """Refuse rotary tables of other kinds than those that were proven for a family."""
    for name, table in tables.items():
        if table.kind not in kinds:
            raise UnsupportedConfig(f"rope_parameters of {name}: rope_type", f"one of {', '.join(kinds)}", table.kind)


def expect_whole_heads(tables: dict[str, RopeArgs]) -> dict[str, RopeArgs]:
    """The tables, if they rotate whole heads: the HF module of most families ignores `partial_rotary_factor`, or fails.

    Proportional tables cover whole heads, of which a part stands still.
    """
    for name, table in tables.items():
        if table.rotary_dim != table.head_dim and table.kind != "proportional":
            share = table.rotary_dim / table.head_dim
            raise UnsupportedConfig(f"rope_parameters of {name}: partial_rotary_factor", "absent or 1", share)
    return tables


def _rope_args(
    hf: HFFields, table: Mapping[str, Any], head_dim: int, style: str, field: str, fixed_alpha: bool
) -> RopeArgs:
    known = {"rope_theta", "rope_type", "partial_rotary_factor", "original_max_position_embeddings", "truncate"}
    known |= {*_ROPE_FLOATS, *_ROPE_IGNORED, "short_factor", "long_factor"}
    known |= {"alpha"} if fixed_alpha else set()
    if unknown := sorted(table.keys() - known):
        raise UnsupportedConfig(
            f"{field}.{unknown[0]}", "absent (no rope parameter of this name is known)", table[unknown[0]]
        )
    kind = table.get("rope_type", "default")
    if kind not in _ROPE_KINDS:
        raise UnsupportedConfig(f"{field}.rope_type", f"one of {', '.join(_ROPE_KINDS)}", kind)
    if kind not in _SCALED_KINDS and table.get("attention_factor") is not None:
        raise UnsupportedConfig(
            f"{field}.attention_factor",
            f"absent with rope_type {kind} (transformers ignores it there)",
            table["attention_factor"],
        )
    share = table.get("partial_rotary_factor") or 1.0
    rotary_dim = int(head_dim * share)
    if rotary_dim % 2:
        raise UnsupportedConfig(f"{field}: rotating dimensions of a head", "even (they turn in pairs)", rotary_dim)
    values: dict[str, Any] = {ours: table[name] for name, ours in _ROPE_FLOATS.items() if table.get(name) is not None}
    config_original = hf("original_max_position_embeddings", None)
    original = table.get("original_max_position_embeddings") or config_original
    if kind in _SCALED_KINDS and original:
        values.setdefault("factor", hf("max_position_embeddings") / original)  # what transformers derives
    if kind == "dynamic" and fixed_alpha and table.get("alpha"):
        kind, values["factor"] = "ntk_alpha", table["alpha"]
    return RopeArgs(
        theta=float(table["rope_theta"]),
        rotary_dim=rotary_dim,
        head_dim=head_dim,
        kind=kind,
        style=style,  # type: ignore[arg-type]
        original_max_positions=int(original or hf("max_position_embeddings")),
        max_positions=hf("max_position_embeddings"),
        short_factor=tuple(table.get("short_factor") or ()),
        long_factor=tuple(table.get("long_factor") or ()),
        truncate=table.get("truncate", True),
        **values,
    )
