# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises rotary positions from queries and keys before and after: which table, which style, or none.

Compares scores q·k, not channels: implementations may reorder the channels of a head. Dimensions: T tokens, H heads, D width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import RopeParameters

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.hf_config import rope_tables
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_args import RopeArgs
from areal.experimental.models.archon.modules.rope import Rope, rotate
from areal.experimental.models.archon.scaffold.dataflow import TOLERANCE, mismatch
from areal.experimental.models.archon.scaffold.findings import Unexplained

_USUAL_THETA = 10000.0
STYLES = ("half", "interleaved")
_WITHOUT_TABLES = (
    "something happens to queries and keys between projection and product, and the config has no rope_parameters"
)


@dataclass(frozen=True)
class FittedRope:
    """Name and table of the rotation, None where there is none; `known`: the table is what `rope_tables` derives."""

    name: str | None
    table: RopeArgs | None
    known: bool = True


def fit_rope(
    config: PreTrainedConfig,
    where: str,
    before: tuple[Tensor, Tensor],
    after: tuple[Tensor, Tensor],
    layer_kind: str,
    only_known: bool = False,
) -> FittedRope:
    """The rotation that turns (q, k) `[T, H, D]` into others; a table named like the layer's kind is preferred.

    only_known: without tables of other widths than the config asks for.
    """
    expected = _scores(*after)
    errors: dict[str, float] = {"none": mismatch(_scores(*before), expected)}
    if errors["none"] < TOLERANCE:
        return FittedRope(None, None)
    for known, name, table in _candidates(config, before[0].shape[-1], layer_kind):
        if only_known and not known:
            continue
        label = f"{name} {table.kind} {table.style}, {table.rotary_dim} of {before[0].shape[-1]} channels"
        errors[label] = error = mismatch(_scores(*(turned(x, table) for x in before)), expected)
        if error < TOLERANCE:
            return FittedRope(name, table, known)
    has_tables = bool(config.to_dict().get("rope_parameters"))
    what = "no rotary table reproduces the scores of queries and keys" if has_tables else _WITHOUT_TABLES
    raise Unexplained(where, what, errors)


def turned(x: Tensor, table: RopeArgs) -> Tensor:
    """`[T, H, D]` rotated at positions 0, 1, ..."""
    positions = torch.arange(x.shape[0])
    cos, sin = Rope(table)(positions, torch.float32, lambda: torch.full_like(positions, len(positions)))
    return rotate(x, cos, sin, table.style)


def known_tables(config: PreTrainedConfig, head_dim: int, style: str, fixed_alpha: bool = False) -> dict[str, RopeArgs]:
    """The tables of a config; entries of `rope_parameters` that nobody knows are left to other options."""
    hf = HFFields(config)
    try:
        return rope_tables(
            hf, head_dim, style, read_elsewhere=unknown_entries(config, fixed_alpha), fixed_alpha=fixed_alpha
        )
    except (UnsupportedConfig, TypeError, AttributeError) as error:
        raise Unexplained("config", str(error)) from error


def unknown_entries(config: PreTrainedConfig, fixed_alpha: bool = False) -> tuple[str, ...]:
    """Entries of `rope_parameters` that are no rotary parameter of transformers."""
    parameters = config.to_dict().get("rope_parameters") or {}
    known = RopeParameters.__optional_keys__ | RopeParameters.__required_keys__ | {"type", "finetuned"}
    known |= {"alpha"} if fixed_alpha else set()
    return tuple(n for n, v in parameters.items() if n not in known and isinstance(v, int | float))


def _candidates(config: PreTrainedConfig, head_dim: int, layer_kind: str) -> Iterator[tuple[bool, str, RopeArgs]]:
    """Tables with whether they are what the config asks for: those of the layer's own kind in every way, then others."""
    if not config.to_dict().get("rope_parameters"):
        yield from _own_tables(config, head_dim)
        return
    if "alpha" in config.to_dict()["rope_parameters"]:
        for style in STYLES:
            for name, table in known_tables(config, head_dim, style, fixed_alpha=True).items():
                yield True, name, table
    tables = {style: known_tables(config, head_dim, style) for style in STYLES}
    names = sorted(tables["half"], key=lambda name: name != layer_kind)
    own = names[:1] if layer_kind in names else names
    for group in (own, [name for name in names if name not in own]):
        for is_reversed, style, name in itertools.product((False, True), STYLES, group):
            yield True, name, replace(tables[style][name], is_reversed=is_reversed)
        widths = range(2, head_dim + 1, 2)
        for is_reversed, style, name, width in itertools.product((False, True), STYLES, group, widths):
            table = tables[style][name]
            if width != table.rotary_dim and _admits(table, width):
                yield False, name, replace(table, rotary_dim=width, is_reversed=is_reversed)


def _admits(table: RopeArgs, width: int) -> bool:
    """Whether a table may have another width: one factor a pair of longrope, a power of d / (d - 2) of dynamic bases."""
    return {"longrope": 2 * len(table.short_factor) == width, "dynamic": width > 2}.get(table.kind, True)


def _own_tables(config: PreTrainedConfig, head_dim: int) -> Iterator[tuple[bool, str, RopeArgs]]:
    """Plain tables of models older than `rope_parameters`, whose base is a constant or a field of its own."""
    fields = {name: value for name, value in config.to_dict().items() if isinstance(value, int | float)}
    thetas = [_USUAL_THETA, *(float(v) for n, v in fields.items() if ("theta" in n or "base" in n) and v > 1)]
    for theta, style, width in itertools.product(dict.fromkeys(thetas), STYLES, range(head_dim, 0, -2)):
        yield False, "default", RopeArgs(theta=theta, rotary_dim=width, style=style)  # type: ignore[arg-type]


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """q·k of all pairs of tokens and heads."""
    groups = q.shape[1] // k.shape[1]
    return torch.einsum("thd,shd->hts", q.double(), k.repeat_interleave(groups, dim=1).double())
