# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The proof of every family, on tiny random HF models; about a second a family."""

from functools import cache

import pytest

from areal.experimental.models.archon.model_spec import get_supported_model_types
from areal.experimental.models.archon.proof import CHECKS, CheckResult, prove


@cache
def proof_of(model_type: str) -> dict[str, list[CheckResult]]:
    """Results of the two tiny configs by check; all are made at once."""
    results = prove(model_type)
    return {name: [result for result in results if result.name == name] for name in CHECKS}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("model_type", sorted(get_supported_model_types()))
def test_family_passes_check_on_both_tiny_configs(model_type, check):
    first, second = proof_of(model_type)[check]
    assert first.passed, first
    assert second.passed, second
