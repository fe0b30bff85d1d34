# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Parallelism of Starcoder2: the shared steps, derived from the roles of its layers."""

from __future__ import annotations

from areal.experimental.models.archon.parallelize import parallelize_by_roles

parallelize_starcoder2 = parallelize_by_roles
