# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The skill runner: what a skill declares, staged runs that are written all or not at all, their undoing, self-tests."""
