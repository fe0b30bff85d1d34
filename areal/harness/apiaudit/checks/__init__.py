# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Compares one usage with one release; each check yields problems with stable codes, or that it cannot decide."""
