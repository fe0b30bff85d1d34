# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""NanoChat: written by `areal archon new` out of what its HF model was measured to compute."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.nanochat.infra.parallelize import parallelize_nanochat
from areal.experimental.models.archon.nanochat.model.args import NanochatModelArgs
from areal.experimental.models.archon.nanochat.model.model import NanochatModel
from areal.experimental.models.archon.nanochat.model.state_dict_adapter import NanochatStateDictAdapter

SPEC = ModelSpec(
    name="nanochat",
    model_class=NanochatModel,
    model_args_class=NanochatModelArgs,
    state_dict_adapter_class=NanochatStateDictAdapter,
    parallelize_fn=parallelize_nanochat,
    supported_model_types=frozenset({"nanochat"}),
)
