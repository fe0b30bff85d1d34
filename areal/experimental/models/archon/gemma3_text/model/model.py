# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The model class of Gemma 3 (text): all of it is options."""

from __future__ import annotations

from areal.experimental.models.archon.model import ArchonModel


class Gemma3TextModel(ArchonModel):
    """An `ArchonModel` described by `Gemma3TextModelArgs`."""
