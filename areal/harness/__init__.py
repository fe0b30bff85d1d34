# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The harness: what lets people and coding agents extend areal with a command that checks each step.

Called by `areal.cli`. Imports nothing of areal but `areal.api` and `areal.utils` and never torch, so that every check runs
in an environment that holds only the extra `areal[harness]`.
"""
