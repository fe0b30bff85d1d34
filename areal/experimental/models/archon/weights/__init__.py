# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Declarative, invertible maps between our parameters and HF checkpoints."""
