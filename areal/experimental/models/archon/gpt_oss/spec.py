# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""gpt-oss: sinks, alternating windows, experts with biases and a clamped activation."""

from __future__ import annotations

from areal.experimental.models.archon.gpt_oss.infra.parallelize import parallelize_gpt_oss
from areal.experimental.models.archon.gpt_oss.model.args import GptOssModelArgs
from areal.experimental.models.archon.gpt_oss.model.model import GptOssModel
from areal.experimental.models.archon.gpt_oss.model.state_dict_adapter import GptOssStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="gpt_oss",
    model_class=GptOssModel,
    model_args_class=GptOssModelArgs,
    state_dict_adapter_class=GptOssStateDictAdapter,
    parallelize_fn=parallelize_gpt_oss,
    supported_model_types=frozenset({"gpt_oss"}),
)
