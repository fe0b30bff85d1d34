# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Supervised fine-tuning: the loss over demonstrated answers."""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"LMEngine": "areal.trainer.sft.lm_engine"})
