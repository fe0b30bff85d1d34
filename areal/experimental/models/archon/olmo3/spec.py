# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""OLMo 3: OLMo 2 with windows on three of four layers."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.olmo3.infra.parallelize import parallelize_olmo3
from areal.experimental.models.archon.olmo3.model.args import Olmo3ModelArgs
from areal.experimental.models.archon.olmo3.model.model import Olmo3Model
from areal.experimental.models.archon.olmo3.model.state_dict_adapter import Olmo3StateDictAdapter

SPEC = ModelSpec(
    name="olmo3",
    model_class=Olmo3Model,
    model_args_class=Olmo3ModelArgs,
    state_dict_adapter_class=Olmo3StateDictAdapter,
    parallelize_fn=parallelize_olmo3,
    supported_model_types=frozenset({"olmo3"}),
)
