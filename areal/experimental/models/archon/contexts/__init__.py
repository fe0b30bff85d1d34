# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which tokens of a flat run belong together: packed sequences, cached rows of a server, sequence-parallel shares."""
