# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Ministral3: written by `areal archon new` out of what its HF model was measured to compute."""

from __future__ import annotations

from areal.experimental.models.archon.ministral3.infra.parallelize import parallelize_ministral3
from areal.experimental.models.archon.ministral3.model.args import Ministral3ModelArgs
from areal.experimental.models.archon.ministral3.model.model import Ministral3Model
from areal.experimental.models.archon.ministral3.model.state_dict_adapter import Ministral3StateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="ministral3",
    model_class=Ministral3Model,
    model_args_class=Ministral3ModelArgs,
    state_dict_adapter_class=Ministral3StateDictAdapter,
    parallelize_fn=parallelize_ministral3,
    supported_model_types=frozenset({"ministral3"}),
)
