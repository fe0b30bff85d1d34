# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What every training engine shares: micro-batches to steps, optimizers, clipping, saving, process groups."""
