# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Phi-3: see `spec.py`."""
