# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Upgrades of dependencies over both manifests: edits, consistency, locks, container files, audits, summary.

Called by `areal deps`. Nothing is written without `--apply`, except the summary where it is asked for.
"""
