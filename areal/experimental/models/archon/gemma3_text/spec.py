# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gemma 3, text only: windows on five of six layers with a rotary table of their own."""

from __future__ import annotations

from areal.experimental.models.archon.gemma3_text.infra.parallelize import parallelize_gemma3_text
from areal.experimental.models.archon.gemma3_text.model.args import Gemma3TextModelArgs
from areal.experimental.models.archon.gemma3_text.model.model import Gemma3TextModel
from areal.experimental.models.archon.gemma3_text.model.state_dict_adapter import Gemma3TextStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="gemma3_text",
    model_class=Gemma3TextModel,
    model_args_class=Gemma3TextModelArgs,
    state_dict_adapter_class=Gemma3TextStateDictAdapter,
    parallelize_fn=parallelize_gemma3_text,
    supported_model_types=frozenset({"gemma3_text"}),
)
