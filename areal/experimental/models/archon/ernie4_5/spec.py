# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""ERNIE 4.5, dense and with experts."""

from __future__ import annotations

from areal.experimental.models.archon.ernie4_5.infra.parallelize import parallelize_ernie4_5
from areal.experimental.models.archon.ernie4_5.model.args import Ernie45ModelArgs
from areal.experimental.models.archon.ernie4_5.model.model import Ernie45Model
from areal.experimental.models.archon.ernie4_5.model.state_dict_adapter import Ernie45StateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="ernie4_5",
    model_class=Ernie45Model,
    model_args_class=Ernie45ModelArgs,
    state_dict_adapter_class=Ernie45StateDictAdapter,
    parallelize_fn=parallelize_ernie4_5,
    supported_model_types=frozenset({"ernie4_5", "ernie4_5_moe"}),
)
