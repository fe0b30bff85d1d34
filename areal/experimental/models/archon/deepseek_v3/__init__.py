# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V3: see `spec.py`."""
