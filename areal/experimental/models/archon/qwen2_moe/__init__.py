# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen2Moe: see `spec.py`."""
