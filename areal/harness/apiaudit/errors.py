# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What ends an audit early, each with its exit code."""

from __future__ import annotations

from areal.harness.core.errors import DecisionNeeded, MissingTool, UsageProblem


class UnknownName(DecisionNeeded):
    """A package, symbol or variant that does not exist."""


class SourcesUnavailable(MissingTool):
    """A release could not be fetched, or holds no readable sources."""


class UnreadableContract(UsageProblem):
    """A contract file is not the YAML that the schema wants."""
