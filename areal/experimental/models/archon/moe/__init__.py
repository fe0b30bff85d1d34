# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Mixture of experts: router, token order, grouped experts, balancing."""
