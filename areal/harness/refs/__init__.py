# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""References in the texts of the harness: what a text names, and whether it exists."""
