# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reads our own syntax trees: scopes, chains of names, and the usages of third-party packages in them."""
