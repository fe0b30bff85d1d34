# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From the sources under `.agents` to what the platforms read: sources, generated tables, one renderer a platform."""
