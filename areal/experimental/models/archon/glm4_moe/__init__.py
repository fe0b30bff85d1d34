# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""GLM-4.5: see `spec.py`."""
