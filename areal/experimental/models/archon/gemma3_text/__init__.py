# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gemma 3 (text): see `spec.py`."""
