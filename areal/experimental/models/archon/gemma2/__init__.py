# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gemma 2: see `spec.py`."""
