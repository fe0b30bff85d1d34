# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How an OLMo 3 is made parallel."""
