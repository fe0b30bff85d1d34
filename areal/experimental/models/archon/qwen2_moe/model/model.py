# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The model class of Qwen2Moe: all of it is options."""

from __future__ import annotations

from areal.experimental.models.archon.model import ArchonModel


class Qwen2MoeModel(ArchonModel):
    """An `ArchonModel` described by `Qwen2MoeModelArgs`."""
