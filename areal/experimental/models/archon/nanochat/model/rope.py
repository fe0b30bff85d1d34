# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary tables of NanoChat."""

from __future__ import annotations

from dataclasses import replace

from areal.experimental.models.archon.hf_config import expect_whole_heads, head_fields, rope_tables
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_args import RopeArgs


def ropes(hf: HFFields) -> dict[str, RopeArgs]:
    """The tables of `rope_parameters`, half style."""
    tables = rope_tables(hf, head_fields(hf)["head_dim"])
    expect_whole_heads(tables)
    return {name: replace(table, is_reversed=True) for name, table in tables.items()}
