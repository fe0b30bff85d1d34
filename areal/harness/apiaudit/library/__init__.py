# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the sources of a release: index of modules, names behind names, signatures, fields, routes and flags."""
