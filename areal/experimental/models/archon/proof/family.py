# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The proof of one family on configs given as fields, result by result: what the tests that `areal archon new` writes call.

A generated test file holds data and one call a test, so that a check added here is run for every family that exists.
Whatever a check finds is a `CheckResult`; a config that is only read or loaded raises what the family raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.proof.case import CheckResult
from areal.experimental.models.archon.proof.run import prove_config

Fields = Mapping[str, Any]
"""Fields of an HF config with their values."""


class FamilyProof:
    """All checks of a family on its tiny config (once a seed) and on variants of it; a config is proven when first asked for.

    base: the fields in which the tiny config differs from the default one of its class. variants: by label, the fields in
    which another config differs from the tiny one.
    """

    def __init__(
        self,
        spec: ModelSpec,
        model_type: str,
        *,
        base: Fields,
        variants: Mapping[str, Fields],
        seeds: Sequence[int] = (0,),
    ) -> None:
        self.spec, self.model_type, self.base = spec, model_type, base
        runs = {f"base, seed {seed}": ({}, seed) for seed in seeds} | {label: (f, 0) for label, f in variants.items()}
        self._runs: dict[str, tuple[Fields, int]] = runs
        self._results: dict[str, dict[str, CheckResult]] = {}

    @property
    def configs(self) -> list[str]:
        """Labels of the configs."""
        return list(self._runs)

    def check(self, label: str, name: str) -> CheckResult:
        """The result of the check with this name (of `CHECKS`) on the config with this label."""
        if label not in self._results:
            fields, seed = self._runs[label]
            results = prove_config(self.spec, self.tiny(fields), seed=seed, label=label)
            self._results[label] = {result.name: result for result in results}
        return self._results[label][name]

    def load_on_meta(self, config: PreTrainedConfig) -> dict[str, Tensor]:
        """All parameters of a config of any size from its HF model's tensors, without data; `CheckpointError` if they differ."""
        weights = self.spec.state_dict_adapter_class(self.read(config)).weight_map
        with torch.device("meta"):
            tensors = AutoModelForCausalLM.from_config(config).state_dict()
        return {name: ours for entry in weights.plan(tensors) for name, ours in entry.to_ours(tensors).items()}

    def read(self, config: PreTrainedConfig) -> DecoderArgs:
        """The family's arguments of a config; raises `UnsupportedConfig`."""
        return self.spec.model_args_class.from_hf_config(config)  # type: ignore[attr-defined]

    def tiny(self, changes: Fields) -> PreTrainedConfig:
        """The tiny config with other values of some fields."""
        config = AutoConfig.for_model(self.model_type, **self.base)
        for name, value in changes.items():
            setattr(config, name, value)
        return config

    def whole(self, fields: Fields) -> PreTrainedConfig:
        """The default config of the class with other values of some fields."""
        return AutoConfig.for_model(self.model_type, **fields)


def two_rank_layouts(args: DecoderArgs) -> list[dict[str, int]]:
    """Sizes of axes of every layout of two ranks that a model with these arguments can have."""
    expert: list[dict[str, int]] = [{"dp_shard": 2, "ep": 2}] if args.moe_layers else []
    return [{"tp": 2}, {"cp": 2}, {"dp_shard": 2}, *expert, {"pp": 2}]
