# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Functions that mix tokens of packed sequences: softmax attention by device and need, convolution, delta rule."""
