# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a GLM-4.5 is made of."""
