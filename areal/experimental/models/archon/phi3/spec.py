# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: fused projections, longrope."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.phi3.infra.parallelize import parallelize_phi3
from areal.experimental.models.archon.phi3.model.args import Phi3ModelArgs
from areal.experimental.models.archon.phi3.model.model import Phi3Model
from areal.experimental.models.archon.phi3.model.state_dict_adapter import Phi3StateDictAdapter

SPEC = ModelSpec(
    name="phi3",
    model_class=Phi3Model,
    model_args_class=Phi3ModelArgs,
    state_dict_adapter_class=Phi3StateDictAdapter,
    parallelize_fn=parallelize_phi3,
    supported_model_types=frozenset({"phi3"}),
)
