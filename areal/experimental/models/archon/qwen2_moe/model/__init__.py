# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a Qwen2Moe is made of."""
