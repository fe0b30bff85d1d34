# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Starcoder2: written by `areal archon new` out of what its HF model was measured to compute."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.starcoder2.infra.parallelize import parallelize_starcoder2
from areal.experimental.models.archon.starcoder2.model.args import Starcoder2ModelArgs
from areal.experimental.models.archon.starcoder2.model.model import Starcoder2Model
from areal.experimental.models.archon.starcoder2.model.state_dict_adapter import Starcoder2StateDictAdapter

SPEC = ModelSpec(
    name="starcoder2",
    model_class=Starcoder2Model,
    model_args_class=Starcoder2ModelArgs,
    state_dict_adapter_class=Starcoder2StateDictAdapter,
    parallelize_fn=parallelize_starcoder2,
    supported_model_types=frozenset({"starcoder2"}),
)
