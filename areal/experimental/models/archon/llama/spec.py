# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Llama 2, 3, 3.x and everything that ships as `LlamaForCausalLM`."""

from __future__ import annotations

from areal.experimental.models.archon.llama.infra.parallelize import parallelize_llama
from areal.experimental.models.archon.llama.model.args import LlamaModelArgs
from areal.experimental.models.archon.llama.model.model import LlamaModel
from areal.experimental.models.archon.llama.model.state_dict_adapter import LlamaStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="llama",
    model_class=LlamaModel,
    model_args_class=LlamaModelArgs,
    state_dict_adapter_class=LlamaStateDictAdapter,
    parallelize_fn=parallelize_llama,
    supported_model_types=frozenset({"llama"}),
)
