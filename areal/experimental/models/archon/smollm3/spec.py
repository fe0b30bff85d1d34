# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""SmolLM3: written by `areal archon new` out of what its HF model was measured to compute."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.smollm3.infra.parallelize import parallelize_smollm3
from areal.experimental.models.archon.smollm3.model.args import Smollm3ModelArgs
from areal.experimental.models.archon.smollm3.model.model import Smollm3Model
from areal.experimental.models.archon.smollm3.model.state_dict_adapter import Smollm3StateDictAdapter

SPEC = ModelSpec(
    name="smollm3",
    model_class=Smollm3Model,
    model_args_class=Smollm3ModelArgs,
    state_dict_adapter_class=Smollm3StateDictAdapter,
    parallelize_fn=parallelize_smollm3,
    supported_model_types=frozenset({"smollm3"}),
)
