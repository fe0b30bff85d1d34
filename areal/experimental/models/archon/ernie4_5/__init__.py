# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""ERNIE 4.5: see `spec.py`."""
