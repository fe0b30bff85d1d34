# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Proof that a family computes what `transformers` computes: tiny random HF models are the oracle; seconds on a CPU.

A check is a function of a `Case` (one config, its random HF model, its checkpoint on disk, our model). `prove(model_type)`
runs all `CHECKS` on all `tiny_configs`: `areal archon check` and the tests of all families. `FamilyProof` runs them on the
configs that a generated family's tests hold. Steps on several ranks are compared by `tests`, in the layouts that
`two_rank_layouts` lists. Must never be imported by code that trains or serves.
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
