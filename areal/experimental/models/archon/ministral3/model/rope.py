# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary tables of Ministral3."""

from __future__ import annotations

from areal.experimental.models.archon.hf_config import expect_rope_kinds, head_fields, rope_tables
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_args import RopeArgs


def ropes(hf: HFFields) -> dict[str, RopeArgs]:
    """The tables of `rope_parameters`, half style."""
    tables = rope_tables(
        hf,
        head_fields(hf)["head_dim"],
        read_elsewhere=(
            "max_position_embeddings",
            "llama_4_scaling_beta",
        ),
    )
    expect_rope_kinds(tables, "yarn", "default", "linear", "llama3")
    return tables
