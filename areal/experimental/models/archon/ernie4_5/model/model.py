# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The model class of ERNIE 4.5: all of it is options."""

from __future__ import annotations

from areal.experimental.models.archon.model import ArchonModel


class Ernie45Model(ArchonModel):
    """An `ArchonModel` described by `Ernie45ModelArgs`."""
