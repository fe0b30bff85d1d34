# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters that make Hugging Face models run on packed sequences."""
