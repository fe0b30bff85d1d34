# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How a Qwen2Moe is made parallel."""
