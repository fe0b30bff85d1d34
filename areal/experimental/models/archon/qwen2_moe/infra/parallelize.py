# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Parallelism of Qwen2Moe: the shared steps, derived from the roles of its layers."""

from __future__ import annotations

from areal.experimental.models.archon.parallelize import parallelize_by_roles

parallelize_qwen2_moe = parallelize_by_roles
