# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Parallelism of Qwen3-Next: the shared steps, derived from the roles of its layers."""

from __future__ import annotations

from areal.experimental.models.archon.parallelize import parallelize_by_roles

parallelize_qwen3_next = parallelize_by_roles
