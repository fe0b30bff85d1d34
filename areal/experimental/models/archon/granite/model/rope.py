# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary tables of Granite."""

from __future__ import annotations

from areal.experimental.models.archon.hf_config import expect_whole_heads, rope_tables
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_args import RopeArgs


def ropes(hf: HFFields, head_dim: int) -> dict[str, RopeArgs]:
    """One table for all layers, half style."""
    return expect_whole_heads(rope_tables(hf, head_dim))
