# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gemma 2: sandwich norms, soft caps, alternating windows."""

from __future__ import annotations

from areal.experimental.models.archon.gemma2.infra.parallelize import parallelize_gemma2
from areal.experimental.models.archon.gemma2.model.args import Gemma2ModelArgs
from areal.experimental.models.archon.gemma2.model.model import Gemma2Model
from areal.experimental.models.archon.gemma2.model.state_dict_adapter import Gemma2StateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="gemma2",
    model_class=Gemma2Model,
    model_args_class=Gemma2ModelArgs,
    state_dict_adapter_class=Gemma2StateDictAdapter,
    parallelize_fn=parallelize_gemma2,
    supported_model_types=frozenset({"gemma2"}),
)
