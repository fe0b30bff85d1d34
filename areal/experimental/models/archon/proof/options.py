# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The option table: which options of the vocabulary a family uses, in words, read off the arguments of its tiny configs.

Called by `areal archon list` and by the generator of the docs page. Only what the proof covers is listed: an option that
differs between the two configs stands as `a | b`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    FeedForwardArgs,
    LayerArgs,
    MLAArgs,
    MoEArgs,
    NormArgs,
    RopeArgs,
    RouterArgs,
    ScoreArgs,
    ShortConvArgs,
)
from areal.experimental.models.archon.model_spec import get_model_spec, get_supported_model_types
from areal.experimental.models.archon.proof.tiny import tiny_configs

NONE = "–"


def option_table(model_types: Iterable[str] | None = None) -> dict[str, dict[str, str]]:
    """For each model type, the words for each of `COLUMNS`."""
    model_types = get_supported_model_types() if model_types is None else model_types
    return {model_type: options_of(_args(model_type)) for model_type in sorted(model_types)}


def options_of(variants: Iterable[DecoderArgs]) -> dict[str, str]:
    """The words of one family, given its arguments under several configs."""
    variants = list(variants)
    return {name: " | ".join(dict.fromkeys(describe(args) for args in variants)) for name, describe in COLUMNS.items()}


def _args(model_type: str) -> list[DecoderArgs]:
    args_class = get_model_spec(model_type).model_args_class
    return [args_class.from_hf_config(config) for config in tiny_configs(model_type)]  # type: ignore[attr-defined]


def _mixer(args: DecoderArgs) -> str:
    names = {AttentionArgs: "GQA", MLAArgs: "MLA", DeltaNetArgs: "DeltaNet", ShortConvArgs: "short conv"}
    return _join(names[type(layer.mixer)] for layer in args.layers)


def _norm(args: DecoderArgs) -> str:
    return _join(_norm_word(norm) for norm in (args.final_norm, *_block_norms(args)))


def _block_norms(args: DecoderArgs) -> Iterator[NormArgs]:
    for layer in args.layers:
        norms = (layer.attention_norm, layer.attention_post_norm, layer.ffn_norm, layer.ffn_post_norm)
        yield from (norm for norm in norms if norm is not None)


def _norm_word(norm: NormArgs) -> str:
    weight = f" ({norm.offset:g}+w)" if norm.offset else "" if norm.has_weight else " (no weight)"
    return norm.kind + weight + (" + bias" if norm.has_bias else "")


def _layout(args: DecoderArgs) -> str:
    return _join(_layout_word(layer) for layer in args.layers)


def _layout_word(layer: LayerArgs) -> str:
    if layer.parallel:
        return "parallel" if layer.ffn_norm is None else "parallel, two norms"
    before, behind = layer.attention_norm is not None, layer.attention_post_norm is not None
    return "sandwich" if before and behind else "post" if behind else "pre"


def _qk_norm(args: DecoderArgs) -> str:
    norms = [mixer.qk_norm for mixer in _attentions(args) if mixer.qk_norm is not None]
    return _join(norm.kind + (" after rope" if norm.after_rope else "") for norm in norms)


def _biases(args: DecoderArgs) -> str:
    found: dict[str, bool] = {
        "qkv": any(mixer.qkv_bias for mixer in _attentions(args)),
        "latent": any(layer.mixer.bias for layer in args.layers if isinstance(layer.mixer, MLAArgs)),
        "out": any(layer.mixer.out_bias for layer in args.layers if isinstance(layer.mixer, AttentionArgs | MLAArgs)),
        "ffn": any(ffn.in_bias or ffn.out_bias for ffn in _dense_ffns(args)),
        "experts": any(moe.experts.bias for moe in _moes(args)),
        "router": any(moe.router.bias for moe in _moes(args)),
        "head": args.head.bias,
    }
    return _join((name for name, is_there in found.items() if is_there), " ")


def _rope(args: DecoderArgs) -> str:
    if args.embedding.has_positions:
        return "learned positions"
    used = [mixer.rope for mixer in _attentions(args)]
    tables = _join(_rope_word(rope) for rope in args.ropes.values())
    if len(args.ropes) > 1:
        tables += ", by layer type"
    return tables + (", some layers none" if None in used else "")


def _rope_word(rope: RopeArgs) -> str:
    share = rope.rotary_dim / (rope.head_dim or rope.rotary_dim)
    kind = "" if rope.kind == "default" else f" {rope.kind}"
    return rope.style + kind + (f" {share:g} of head" if share < 1 else "")


def _scores(args: DecoderArgs) -> str:
    layers = list(args.scores())
    words: dict[str, Callable[[ScoreArgs], bool]] = {
        "window": lambda score: score.window is not None,
        "chunks": lambda score: score.chunk is not None,
        "soft cap": lambda score: score.softcap is not None,
        "sinks": lambda score: score.sinks,
    }
    found = [_on_layers(word, [has(score) for score in layers]) for word, has in words.items()]
    if any(mixer.query_temperature for mixer in _attentions(args)):
        found.append("query temperature")
    if any(mixer.alibi for mixer in _attentions(args)):
        found.append("linear biases")
    return _join((word for word in found if word), ", ")


def _on_layers(word: str, flags: list[bool]) -> str:
    return "" if not any(flags) else word if all(flags) else f"{word} on some layers"


def _gate(args: DecoderArgs) -> str:
    return _join(mixer.gate for mixer in _attentions(args) if mixer.gate != "none")


def _multipliers(args: DecoderArgs) -> str:
    odd_scale = any(mixer.score.scale != mixer.head_dim**-0.5 for mixer in _attentions(args))
    found: dict[str, bool] = {
        "embedding": args.embedding.scale != 1.0,
        "residual": any(layer.residual_scale != 1.0 for layer in args.layers),
        "scores": odd_scale,
        "logits": args.head.scale != 1.0,
        "logit cap": args.head.softcap is not None,
    }
    return _join((name for name, is_there in found.items() if is_there), ", ")


def _ffn(args: DecoderArgs) -> str:
    return _join(f"{'gated' if ffn.gated else 'plain'} {ffn.activation}" for ffn in _dense_ffns(args))


def _experts(args: DecoderArgs) -> str:
    return _join(_router_word(moe.router) + f", {moe.experts.activation}" for moe in _moes(args))


def _router_word(router: RouterArgs) -> str:
    words = [router.score]
    words += ["selection bias"] * router.selection_bias
    words += [f"groups by {router.group_reduce}"] * (router.num_groups > 1)
    words += ["normalised"] * router.normalize
    words += ["scaled"] * (router.scale != 1.0)
    return ", ".join(words)


def _shared(args: DecoderArgs) -> str:
    return _join("gated" if moe.shared.gate else "plain" for moe in _moes(args) if moe.shared is not None)


def _parallel(args: DecoderArgs) -> str:
    is_whole = any(isinstance(layer.mixer, DeltaNetArgs) for layer in args.layers)
    axes = ["fsdp", "tp (linear mixers whole)" if is_whole else "tp", "cp"]
    axes += ["ep", "etp"] * bool(args.moe_layers)
    return ", ".join([*axes, "pp"])


def _tied(args: DecoderArgs) -> str:
    return "tied" if args.tie_embeddings else "untied"


def _attentions(args: DecoderArgs) -> list[AttentionArgs]:
    return [layer.mixer for layer in args.layers if isinstance(layer.mixer, AttentionArgs)]


def _dense_ffns(args: DecoderArgs) -> list[FeedForwardArgs]:
    return [layer.ffn for layer in args.layers if isinstance(layer.ffn, FeedForwardArgs)]


def _moes(args: DecoderArgs) -> list[MoEArgs]:
    return [layer.ffn for layer in args.layers if isinstance(layer.ffn, MoEArgs)]


def _join(words: Iterable[str], separator: str = " + ") -> str:
    return separator.join(dict.fromkeys(words)) or NONE


COLUMNS: Mapping[str, Callable[[DecoderArgs], str]] = {
    "mixer": _mixer,
    "norm": _norm,
    "layout": _layout,
    "qk norm": _qk_norm,
    "biases": _biases,
    "rope": _rope,
    "scores": _scores,
    "gate": _gate,
    "multipliers": _multipliers,
    "ffn": _ffn,
    "experts": _experts,
    "shared experts": _shared,
    "embeddings": _tied,
    "parallel": _parallel,
}
