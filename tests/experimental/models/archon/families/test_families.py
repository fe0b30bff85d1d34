# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The proof of every family, on tiny random HF models; about a second a family."""

import pytest

from areal.experimental.models.archon.model_spec import get_supported_model_types
from areal.experimental.models.archon.proof import CHECKS, prove


@pytest.mark.parametrize("model_type", sorted(get_supported_model_types()))
def test_family_on_tiny_configs_computes_what_hf_computes(model_type):
    results = prove(model_type)
    assert [str(result) for result in results if not result.passed] == []
    assert len(results) == 2 * len(CHECKS)
