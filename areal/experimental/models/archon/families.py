# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which package runs which HF `model_type`: one line each, kept sorted. Written by `areal archon new`."""

from __future__ import annotations

_HOME = "areal.experimental.models.archon"

FAMILIES: dict[str, str] = {
    "llama": f"{_HOME}.llama.spec",
}
