# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a Starcoder2 is made of."""
