# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The state-dict adapter of every family: a list of rules over the parameters of an `ArchonModel`.

A family subclasses it with its `rules`. Stateless: `from_hf` and `to_hf` may be called in any order, on any device.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from areal.experimental.models.archon.base import BaseStateDictAdapter
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.weights.map import Entry, WeightMap
from areal.experimental.models.archon.weights.ops import Shape
from areal.experimental.models.archon.weights.rules import Rule

_COMPOSITE_PREFIX = "model.language_model."


class StateDictAdapter(BaseStateDictAdapter):
    """See `BaseStateDictAdapter`. Everything is derived from `rules()`."""

    model_args: DecoderArgs
    ignored: tuple[str, ...] = ()
    """Prefixes of HF names that nothing reads; `{num_layers}` stands for the number of layers."""

    def __init__(self, model_args: DecoderArgs, hf_assets_path: str | Path | None = None) -> None:
        super().__init__(model_args, hf_assets_path)

    @abstractmethod
    def rules(self) -> Sequence[Rule]:
        """The family's rules, most specific first."""

    @cached_property
    def weight_map(self) -> WeightMap:
        """The map of the whole model."""
        args = self.model_args
        with torch.device("meta"):
            state = ArchonModel(args).state_dict()
        shapes: dict[str, Shape] = {name: tuple(tensor.shape) for name, tensor in state.items()}
        rules = self.rules()
        ignored = tuple(prefix.format(num_layers=args.num_layers) for prefix in self.ignored)
        if args.is_critic:
            # A language model's checkpoint starts a critic: its head is dropped and the score initialised.
            return WeightMap(
                rules, shapes, optional=frozenset({"score.weight"}), ignored=(*ignored, *_head_names(rules))
            )
        tied = _tied_names(rules) if args.tie_embeddings else {}
        return WeightMap(rules, shapes, tied=tied, ignored=ignored)

    def from_hf(self, hf_state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `BaseStateDictAdapter.from_hf`."""
        return self.weight_map.from_hf({text_name(name): tensor for name, tensor in hf_state_dict.items()})

    def to_hf(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `BaseStateDictAdapter.to_hf`."""
        return dict(self.weight_map.to_hf(state_dict))

    def convert_single_to_hf(self, name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
        """See `BaseStateDictAdapter.convert_single_to_hf`."""
        entry = self.weight_map.entry_of(name)
        if len(entry.ours) > 1:
            raise ValueError(
                f"expected a parameter that HF stores alone, got {name}: stored with {entry.ours}; use groups()"
            )
        return list(entry.to_hf({name: tensor}).items())

    def groups(self) -> Iterable[Entry]:
        """Which of our parameters become which HF tensors, in the order of writing."""
        return self.weight_map.entries


def text_name(hf_name: str) -> str:
    """The name in a text-only checkpoint of a tensor in a multimodal one."""
    return "model." + hf_name.removeprefix(_COMPOSITE_PREFIX) if hf_name.startswith(_COMPOSITE_PREFIX) else hf_name


def _head_names(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Prefixes of the HF names of the language-model head."""
    return tuple(rule.hf[0].partition("{")[0] for rule in rules if rule.ours[0].startswith("output."))


def _tied_names(rules: Sequence[Rule]) -> dict[str, str]:
    heads = {rule.ours[0]: rule.hf[0] for rule in rules if rule.ours[0] in ("output.{p}", "output.weight")}
    embedding = next(rule.hf[0] for rule in rules if rule.ours == ("tok_embeddings.weight",))
    return {hf.replace("{p}", "weight"): embedding for hf in heads.values()}
