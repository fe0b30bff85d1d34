# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Proof that a family computes what `transformers` computes: tiny random HF models are the oracle; seconds on a CPU.

`prove(model_type)` runs all `CHECKS` on all `tiny_configs` and returns their results; the generated tests of a family, the
family tests and `areal archon check` call it. A check is a function of a `Case` (one config, its random HF model, its
checkpoint on disk, our model). Checks of parallel layouts are such functions too: a `Case` pickles as its recipe, and a rank
that unpickles it finds the checkpoint in its folder. Must never be imported by code that trains or serves.
"""

from areal.utils.lazy import attach

_HOME = "areal.experimental.models.archon.proof"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CHECKS": f"{_HOME}.checks",
        "Case": f"{_HOME}.case",
        "CheckResult": f"{_HOME}.case",
        "FamilyProof": f"{_HOME}.family",
        "prove": f"{_HOME}.run",
        "prove_config": f"{_HOME}.run",
        "random_hf_model": f"{_HOME}.oracle",
        "tiny_configs": f"{_HOME}.tiny",
        "two_rank_layouts": f"{_HOME}.family",
    },
)
