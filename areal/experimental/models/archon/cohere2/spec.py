# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Cohere2: written by `areal archon new` out of what its HF model was measured to compute."""

from __future__ import annotations

from areal.experimental.models.archon.cohere2.infra.parallelize import parallelize_cohere2
from areal.experimental.models.archon.cohere2.model.args import Cohere2ModelArgs
from areal.experimental.models.archon.cohere2.model.model import Cohere2Model
from areal.experimental.models.archon.cohere2.model.state_dict_adapter import Cohere2StateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="cohere2",
    model_class=Cohere2Model,
    model_args_class=Cohere2ModelArgs,
    state_dict_adapter_class=Cohere2StateDictAdapter,
    parallelize_fn=parallelize_cohere2,
    supported_model_types=frozenset({"cohere2"}),
)
