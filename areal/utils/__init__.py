# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Leaf helpers: each module stands alone and imports nothing of areal above it."""
