# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A declarative, invertible map between a decoder's parameter names and those of HF checkpoints.

A family lists rules; reading, writing, strictness and the expected HF names and shapes all follow from them. `{layer}` in a
rule stands for every layer index. Used by whoever loads or exports weights; moves no data between devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from areal.utils.errors import CheckpointError

IGNORED_SUFFIXES = (".rotary_emb.inv_freq",)
"""Constant buffers that old checkpoints stored beside the weights."""


@dataclass(frozen=True)
class Rename:
    """The tensor `ours` is the HF tensor `hf`."""

    ours: str
    hf: str


@dataclass(frozen=True)
class Fuse:
    """The tensor `ours` is the concatenation along dim 0 of the HF tensors `hf`, of `sizes` rows each."""

    ours: str
    hf: tuple[str, ...]
    sizes: tuple[int, ...]


Rule = Rename | Fuse


class WeightMap:
    """The expanded rules of one model. `tied` maps HF names that a checkpoint may repeat to the name they repeat."""

    def __init__(self, rules: Sequence[Rule], num_layers: int, tied: Mapping[str, str] | None = None) -> None:
        self._rules = {rule.ours: rule for rule in _expand(rules, num_layers)}
        self._tied = dict(tied or {})

    def hf_names(self) -> list[str]:
        """Every HF name a checkpoint must have."""
        return [name for rule in self._rules.values() for name in _hf_names(rule)]

    def check_names(self, hf_names: Sequence[str]) -> None:
        """Raise `CheckpointError` naming the HF tensors that are missing or that nothing would read."""
        expected = set(self.hf_names())
        missing = sorted(expected - set(hf_names))
        unknown = sorted(
            n for n in set(hf_names) - expected if n not in self._tied and not n.endswith(IGNORED_SUFFIXES)
        )
        if missing or unknown:
            raise CheckpointError(
                f"expected the {len(expected)} tensors of this model, got missing {_some(missing)} and unknown "
                f"{_some(unknown)}; export every parameter once under its HF name"
            )

    def from_hf(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our parameters of a complete HF state; raises `CheckpointError` on missing, unknown or untied tensors."""
        self.check_names(list(state))
        for repeated, name in self._tied.items():
            if repeated in state and not torch.equal(state[repeated], state[name]):
                raise CheckpointError(
                    f"expected {repeated} to equal {name} (the config ties them), got other values; "
                    "set tie_word_embeddings=false or export one of them"
                )
        return {ours: _read(rule, state) for ours, rule in self._rules.items()}

    def to_hf(self, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """`(HF name, tensor)` of a complete state of ours; fused tensors come out as views. Works on meta tensors."""
        if state.keys() != self._rules.keys():
            odd = sorted(state.keys() ^ self._rules.keys())
            raise CheckpointError(f"expected exactly the decoder's parameters, got a difference in {_some(odd)}")
        for ours, tensor in state.items():
            rule = self._rules[ours]
            if isinstance(rule, Rename):
                yield rule.hf, tensor
            else:
                yield from zip(rule.hf, tensor.split(rule.sizes), strict=True)


def _expand(rules: Sequence[Rule], num_layers: int) -> Iterator[Rule]:
    for rule in rules:
        if "{layer}" not in rule.ours:
            yield rule
            continue
        for layer in range(num_layers):
            ours = rule.ours.format(layer=layer)
            if isinstance(rule, Rename):
                yield Rename(ours, rule.hf.format(layer=layer))
            else:
                yield Fuse(ours, tuple(name.format(layer=layer) for name in rule.hf), rule.sizes)


def _hf_names(rule: Rule) -> tuple[str, ...]:
    return (rule.hf,) if isinstance(rule, Rename) else rule.hf


def _read(rule: Rule, state: Mapping[str, Tensor]) -> Tensor:
    if isinstance(rule, Rename):
        return state[rule.hf]
    parts = [state[name] for name in rule.hf]
    for name, part, rows in zip(rule.hf, parts, rule.sizes, strict=True):
        if part.shape[0] != rows:
            raise CheckpointError(
                f"expected {rows} rows in {name}, got {tuple(part.shape)}; check the config's head counts"
            )
    return torch.cat(parts)


def _some(names: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{list(names[:limit])}{more}"
