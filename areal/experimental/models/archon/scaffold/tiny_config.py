# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Shrinks any HF decoder config to a size that runs in milliseconds, and changes single fields of it.

Knows the usual meanings of field names (as hints for sizes only: what a field does is measured, see `sensitivity`). Configs
are changed after construction, so that what a config class derives once (layer lists, head widths) counts as a field.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Container, Iterator
from typing import Any, get_args, get_origin

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig
from transformers.configuration_utils import ALLOWED_LAYER_TYPES

BUILD_ERRORS = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    ZeroDivisionError,
    AssertionError,
    ImportError,
    OverflowError,
    NameError,
    StrictDataclassError,
)
"""What HF configs and models raise when sizes do not fit together."""

NUM_LAYERS = 4
MAX_SMALL = 8
"""Defaults up to this are counts and switches; larger ones are sizes, which would make the model large."""
_POSITIONS = r"max_position_embeddings|n_positions|max_sequence_length|max_seq_len|seq_length"
# First match wins. Values: small, distinct, with groups > 1 and a window shorter than the probe.
_SIZES: tuple[tuple[str, int], ...] = (
    (r"vocab_size(_per_layer_input)?", 61),
    (r"hidden_size|n_embd|d_model|hidden_dim", 64),
    (r"num_hidden_layers|n_layers?|num_layers|num_decoder_layers", NUM_LAYERS),
    (r"num_attention_heads|n_heads?|num_heads", 4),
    (r"num_key_value_heads|num_kv_heads|n_head_kv|multi_query_group_num", 2),
    (r"linear_num_key_heads", 2),
    (r"linear_num_value_heads", 4),
    (r"q_lora_rank", 20),
    (r"kv_lora_rank", 12),
    (r"qk_rope_head_dim", 8),
    (r"qk_nope_head_dim", 10),
    (r"v_head_dim", 12),
    (r".*head_dim", 16),
    (r"shared_(expert_)?intermediate_size", 20),
    (r"moe_(expert_)?intermediate_size|expert_ffn_hidden_size", 24),
    (r".*(intermediate_size|ffn_dim|ffn_hidden_size|n_inner|inner_dim|intermediate_dim).*", 40),
    (_POSITIONS, 64),
    (r"original_max_position_embeddings", 16),
    (r"sliding_window(_size)?|attention_chunk_size|window_size|attention_window_size", 6),
    (r"(moe_)?num_(local_|routed_)?experts|n_routed_experts|moe_num_experts|num_moe_experts", 16),
    (r"num_experts_per_tok(en)?|moe_topk|moe_k|moe_top_k|top_k_experts|router_top_k|num_selected_experts", 3),
    # Fewer groups than choices: else those with the best experts hold all of them, and are no limit.
    (r"n_group|num_expert_group|router_n_groups", 4),
    (r"topk_group|num_limited_group|router_topk_groups", 2),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_start_index|n_dense_layers", 1),
    (r"max_window_layers", 2),
)
# Factors of one are told from no factor at all; scores are kept small, because sharp ones amplify rounding.
_FACTORS = ((r".*attention_multiplier", 0.2), (r".*(multiplier|scaling|scale|scaling_factor|scale_factor)", 0.7))
_FLOATS = ((r"router_jitter_noise", 0.3), (r".*norm.*eps(ilon)?", 0.01))
"""Too small by default: to be seen, or to keep norms of nearly nothing from amplifying its rounding."""
_SWITCHED_ON = ("use_sliding_window",)
"""Switches without which other fields mean nothing."""
_COUNTS = ((r"(n|num)_shared_experts?", 2),)
_DEPTH = re.compile(r"num_hidden_layers|n_layers?|num_layers|num_decoder_layers")
_READS = re.compile(r"getattr\(\s*(?:self\.)?config,\s*[\"'](\w+)[\"']")
_TOKEN_ID = re.compile(r".*_token_(id|index)")


def tiny_config(config_class: type[PreTrainedConfig], overrides: dict[str, Any]) -> PreTrainedConfig:
    """The smallest config of a class in which all its kinds of layers occur; overrides are constructor arguments."""
    whole = config_class()
    kwargs: dict[str, Any] = {}
    for name, default in constructor_fields(config_class).items():
        if (small := small_size(name, default, config_class)) is not None or _is_dropped_id(name, config_class):
            kwargs[name] = small
    kwargs |= {name: True for name in _SWITCHED_ON if name in constructor_fields(config_class)}
    kwargs |= {name: size for name in undeclared_fields(config_class) if (size := usual_size(name)) is not None}
    kwargs |= _with_depth(whole, NUM_LAYERS)
    config = config_class(**{**kwargs, **overrides})
    _cycle_layer_lists(config, whole, overrides)
    _shrink_layer_lists(config)
    _shrink_rope(config)
    return config


def find_tiny(
    config_class: type[PreTrainedConfig], works: Callable[[PreTrainedConfig], object], overrides: dict[str, Any]
) -> PreTrainedConfig:
    """The first tiny config that `works` accepts without raising; when none does, the first error of a model, else of a config."""
    of_config: Exception | None = None
    of_model: Exception | None = None
    for repair in _repairs(config_class):
        try:
            config = tiny_config(config_class, {**repair, **overrides})
        except BUILD_ERRORS as error:
            of_config = of_config or error
            continue
        try:
            works(config)
            return config
        except BUILD_ERRORS as error:
            of_model = of_model or error
    found = of_model or of_config
    assert found is not None
    raise found


def _repairs(config_class: type[PreTrainedConfig]) -> Iterator[dict[str, Any]]:
    """Constraints between sizes that some families have, tried one after the other."""
    fields = constructor_fields(config_class)
    heads = {name: 4 for name in fields if re.fullmatch(r"num_key_value_heads|num_kv_heads", name)}
    rope_width = {"head_dim": 8} if {"head_dim", "qk_rope_head_dim"} <= fields.keys() else {}
    sizes = {
        name: size
        for name, default in fields.items()
        if default is None and int in field_types(config_class, name)
        for size in [next((s for pattern, s in (*_SIZES, *_COUNTS) if re.fullmatch(pattern, name)), None)]
        if size is not None
    }
    one, two = (
        {name: n for name in fields if re.fullmatch(r"num_experts_per_tok(en)?|moe_topk|moe_k", name)} for n in (1, 2)
    )
    pad = {name: 0 for name in fields if name == "pad_token_id"}
    kinds = _layer_kinds(config_class) if fields.get("layer_types", "") is None else []
    yield from (
        {},
        heads,
        {**heads, **rope_width},
        sizes,
        {**sizes, **heads},
        {**sizes, **heads, **rope_width},
        two,
        one,
        pad,
        *({"layer_types": [kinds[i % len(kinds)] for i in range(NUM_LAYERS)]} for _ in kinds[:1]),
    )


def _layer_kinds(config_class: type[PreTrainedConfig]) -> list[str]:
    """The kinds of layers that the source of a model names, of those that transformers knows."""
    source = model_source(config_class)
    return [kind for kind in ALLOWED_LAYER_TYPES if re.search(rf"[\"']{kind}[\"']", source)]


def model_source(config_class: type[PreTrainedConfig]) -> str:
    """Empty for classes whose model lives elsewhere."""
    try:
        return inspect.getsource(
            importlib.import_module(config_class.__module__.replace(".configuration_", ".modeling_"))
        )
    except (ImportError, OSError):
        return ""


def constructor_fields(config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """Names and plain defaults (before anything is derived) of the fields that a config class declares."""
    declared = {f.name: f.default for f in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    return {name: value for name, value in declared.items() if value is not dataclasses.MISSING and name[0] != "_"}


@functools.cache
def undeclared_fields(config_class: type[PreTrainedConfig]) -> frozenset[str]:
    """Names that the source of a model looks for in its config although the class has no such field: `head_dim` of qwen3_moe.

    Released configs hold them, so that they are studied like declared ones.
    """
    try:
        known = config_class().to_dict()
    except BUILD_ERRORS:
        known = constructor_fields(config_class)
    properties = set(dir(config_class))
    named = frozenset(_READS.findall(model_source(config_class)))
    return named - known.keys() - config_class.attribute_map.keys() - properties


def field_types(config_class: type[PreTrainedConfig], name: str) -> tuple[type, ...]:
    """The types that the annotation of a field admits."""
    hint = next((f.type for f in dataclasses.fields(config_class) if f.name == name), None)  # type: ignore[arg-type]
    if isinstance(hint, str):  # the base class postpones its annotations
        names = {part.strip() for part in hint.split("|")}
        known = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None)}
        return tuple(known[name] for name in known if name in names)
    return tuple(get_origin(member) or member for member in get_args(hint) or (hint,))


def positions_field(config: PreTrainedConfig) -> str | None:
    """The name of the field that bounds positions; None where there is none."""
    mapped = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    fields = config.to_dict()
    names = [mapped, *(name for name in fields if re.fullmatch(_POSITIONS, name))]
    return next((name for name in names if isinstance(fields.get(name), int)), None)


def depth_field(config: PreTrainedConfig) -> str:
    """The name of the field that holds the number of layers."""
    return next((name for name in config.to_dict() if _DEPTH.fullmatch(name)), "num_hidden_layers")


def changed(config: PreTrainedConfig, **values: Any) -> PreTrainedConfig:
    """A copy of a config with some fields set; `a.b` reaches into a nested dict. Layer lists follow the depth."""
    copied = copy.deepcopy(config)
    for path, value in values.items():
        name, _, inner = path.partition(".")
        if inner:
            _set_inner(vars(copied)[name], inner, value)
        else:
            setattr(copied, name, value)
        if _DEPTH.fullmatch(name):
            _fit_layer_lists(copied, config.num_hidden_layers, value)
            for counted, kinds in _with_depth(config, value).items():
                setattr(copied, counted, kinds)
    return copied


def canonical(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config that is read back from its own file: what its class validates and derives is done.

    Raises one of `BUILD_ERRORS` where the class refuses it.
    """
    read = type(config).from_dict(copy.deepcopy(config.to_dict()))
    read._attn_implementation = config._attn_implementation
    return read


def layer_lists(config: PreTrainedConfig) -> dict[str, list[Any]]:
    """The fields that hold one entry for each layer."""
    depth = config.num_hidden_layers
    return {
        name: value
        for name, value in config.to_dict().items()
        if isinstance(value, list) and len(value) == depth and depth > 1
    }


def _set_inner(table: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        table = table[parent]
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value


def small_size(name: str, default: Any, config_class: type[PreTrainedConfig]) -> Any:
    """A small value of a size, None for a field that keeps its default."""
    types = field_types(config_class, name)
    if isinstance(default, float):
        known = _FACTORS if default == 1.0 else _FLOATS
        return next((value for pattern, value in known if re.fullmatch(pattern, name)), None)
    if isinstance(default, bool) or (int not in types and not isinstance(default, int)):
        return None
    if name.endswith("_id") or _TOKEN_ID.fullmatch(name):
        return None
    for pattern, size in _SIZES:
        if re.fullmatch(pattern, name):
            is_optional_size = default is None and not re.fullmatch(
                r"num_key_value_heads|num_kv_heads|.*window.*", name
            )
            return None if is_optional_size else size
    if isinstance(default, int) and default > 32:
        return 16
    return None


def usual_size(name: str) -> int | None:
    """The tiny value of a size with this name, None for names that say nothing."""
    return next((size for pattern, size in _SIZES if re.fullmatch(pattern, name)), None)


def _is_dropped_id(name: str, config_class: type[PreTrainedConfig]) -> bool:
    """Token ids of the whole vocabulary do not exist in the tiny one, and HF freezes the row of the pad token."""
    return bool(_TOKEN_ID.fullmatch(name)) and type(None) in field_types(config_class, name)


def _cycle_layer_lists(config: PreTrainedConfig, whole: PreTrainedConfig, chosen: Container[str]) -> None:
    """Let every kind of layer of the whole model occur in the tiny one; lists that were chosen stay."""
    kinds_of_whole = layer_lists(whole)
    for name, entries in layer_lists(config).items():
        if name in chosen:
            continue
        kinds = list(dict.fromkeys(kinds_of_whole.get(name, [])))
        if all(isinstance(kind, str | bool | int) for kind in kinds) and set(kinds) - set(entries):
            setattr(config, name, [kinds[i % len(kinds)] for i in range(config.num_hidden_layers)])


def _shrink_layer_lists(config: PreTrainedConfig) -> None:
    """Lists of one size a layer: the largest becomes the tiny size of the field's kind, smaller ones half of it."""
    for name, entries in layer_lists(config).items():
        if all(isinstance(e, int) and not isinstance(e, bool) for e in entries) and max(entries) > 8:
            size = next((size for pattern, size in _SIZES if re.search(pattern, name)), 16)
            setattr(config, name, [size if e == max(entries) else size // 2 for e in entries])


def _shrink_rope(config: PreTrainedConfig) -> None:
    """Lengths in rotary parameters become shorter than the probe."""
    parameters = vars(config).get("rope_parameters") or {}
    for table in (parameters, *(t for t in parameters.values() if isinstance(t, dict))):
        shrink_rope_table(table)
        _rotate_pairs(table, config)


def _rotate_pairs(table: dict[str, Any], config: PreTrainedConfig) -> None:
    """A share of the head that rotates, of a tiny head too, is made of pairs."""
    share = table.get("partial_rotary_factor")
    if not isinstance(share, float):
        return
    width = vars(config).get("head_dim") or config.hidden_size // config.num_attention_heads  # by any of their names
    if int(width * share) % 2:
        table["partial_rotary_factor"] = 2 * max(1, round(width * share / 2)) / width


def shrink_rope_table(table: dict[str, Any]) -> None:
    """Let a table be scaled from a length that the probe exceeds."""
    if (table.get("original_max_position_embeddings") or 0) > 64:
        table["original_max_position_embeddings"] = 16


def _with_depth(config: PreTrainedConfig, depth: int) -> dict[str, Any]:
    """The fields that spell the kinds of layers as `[[kinds, how often], ...]`, for another number of layers (gpt_neo)."""
    before = config.num_hidden_layers
    found = {}
    for name, value in config.to_dict().items():
        if isinstance(value, list) and value and all(is_repeated(item) for item in value):
            total = sum(len(kinds) * times for kinds, times in value)
            counts = [times * depth / before for _, times in value]
            if total == before and all(count == int(count) for count in counts):
                found[name] = [[kinds, int(count)] for (kinds, _), count in zip(value, counts)]
    return found


def is_repeated(item: Any) -> bool:
    """Whether an entry says which kinds of layers come how often."""
    return isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], list) and isinstance(item[1], int)


def _fit_layer_lists(config: PreTrainedConfig, before: int, depth: int) -> None:
    for name, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == before and before > 1:
            setattr(config, name, [value[i % before] for i in range(depth)])
