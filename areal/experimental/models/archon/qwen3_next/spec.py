# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen3-Next: Qwen3.5 with fused projections in the linear mixers."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.qwen3_next.infra.parallelize import parallelize_qwen3_next
from areal.experimental.models.archon.qwen3_next.model.args import Qwen3NextModelArgs
from areal.experimental.models.archon.qwen3_next.model.model import Qwen3NextModel
from areal.experimental.models.archon.qwen3_next.model.state_dict_adapter import Qwen3NextStateDictAdapter

SPEC = ModelSpec(
    name="qwen3_next",
    model_class=Qwen3NextModel,
    model_args_class=Qwen3NextModelArgs,
    state_dict_adapter_class=Qwen3NextStateDictAdapter,
    parallelize_fn=parallelize_qwen3_next,
    supported_model_types=frozenset({"qwen3_next"}),
)
