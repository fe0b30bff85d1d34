# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The model class of SmolLM3: all of it is options."""

from __future__ import annotations

from areal.experimental.models.archon.model import ArchonModel


class Smollm3Model(ArchonModel):
    """An `ArchonModel` described by `Smollm3ModelArgs`."""
