# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Archon: areal's own decoder. Shared layers hold the mathematics; a model family is data.

`model_args` what a decoder is made of; `model`, `modules`, `moe` the layers; `contexts`, `kernels` how tokens meet; `weights` the
invertible maps to HF names; `parallel` every layout, derived from `roles`; `model_spec`, `families` from an HF config to its
family (one thin package each); `proof` what shows that it equals HF; `scaffold` writes new ones; `planning` costs of a layout.
"""

from areal.utils.lazy import attach

_HOME = "areal.experimental.models.archon"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ArchonModel": f"{_HOME}.model",
        "BaseArchonModel": f"{_HOME}.base",
        "BaseModelArgs": f"{_HOME}.base",
        "BaseStateDictAdapter": f"{_HOME}.base",
        "DecoderArgs": f"{_HOME}.model_args",
        "ModelPart": f"{_HOME}.model",
        "ModelSpec": f"{_HOME}.model_spec",
        "StateDictAdapter": f"{_HOME}.weights.adapter",
        "UnsupportedConfig": f"{_HOME}.base",
        "get_model_spec": f"{_HOME}.model_spec",
        "get_supported_model_types": f"{_HOME}.model_spec",
        "is_supported_model": f"{_HOME}.model_spec",
        "register_model_spec": f"{_HOME}.model_spec",
    },
)
