# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Datasets by name: one module a dataset, each with `load(...)`; `registry` chooses among them."""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"get_custom_dataset": "areal.dataset.registry", "VALID_DATASETS": "areal.dataset.registry"},
)
