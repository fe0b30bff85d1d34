# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Archon: areal's own decoder. Shared layers hold the mathematics; a model family is data (`<family>/spec.py`).

`args` what a decoder is made of; `layers`, `rope`, `attention`, `decoder` the modules; `weight_map` the invertible map to HF
names; `registry` from an HF config to a family. Used by the embedded inference server and, later, by `ArchonEngine`.
"""

from areal.utils.lazy import attach

_HOME = "areal.experimental.models.archon"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Decoder": f"{_HOME}.decoder",
        "DecoderArgs": f"{_HOME}.args",
        "RopeArgs": f"{_HOME}.args",
        "UnsupportedConfig": f"{_HOME}.args",
        "ModelFamily": f"{_HOME}.registry",
        "family_of": f"{_HOME}.registry",
        "WeightMap": f"{_HOME}.weight_map",
    },
)
