# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration: dataclasses by topic, what they derive and refuse, loading, saving, the plan of a run.

Users import from `areal.api.cli_args`.
"""
