# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Attention over packed sequences, and its registration with HF models."""
