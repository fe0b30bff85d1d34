# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal archon new`: finds out what an HF decoder computes, by measuring it, and writes the family that does the same."""
