# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Archon engines over tiny models, and what a step does to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import TrainEngineConfig
from areal.engine.core.engine import CoreTrainEngine
from areal.experimental.engine.archon_engine import ArchonEngine
from tests.engine.tiny import FT_SPEC, VOCAB, num_trained_tokens, weighted_loss
from tests.experimental.models.archon.tiny_models import save_tiny


def save_tiny_archon(folder: Path, model_type: str = "llama", **changes: Any) -> str:
    """A perturbed HF model with the vocabulary of the engine tests."""
    save_tiny(folder, model_type, vocab_size=VOCAB, **{"tie_word_embeddings": False, **changes})
    return str(folder)


def start(engine: CoreTrainEngine, backend: str | None = None) -> CoreTrainEngine:
    """Initialise on this rank; the matmul backend is fixed, so that runs can be compared."""
    os.environ["AREAL_CPU_MATMUL"] = "mkl"
    engine.create_process_group(None if backend is None else ModelAllocation.from_str(backend).parallel)
    engine.initialize(None, FT_SPEC)
    engine.train()
    return engine


def make_archon(config: TrainEngineConfig, backend: str | None = None) -> CoreTrainEngine:
    """An initialised ArchonEngine."""
    return start(ArchonEngine(config), backend)


def gradients_by_sgd(engine: CoreTrainEngine, batch: Any) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Result of one step of plain SGD and the gradient of each parameter, by HF name."""
    before = dict(engine.state_iter())
    result = engine.train_batch(batch, weighted_loss, num_trained_tokens)
    return result, {name: before[name] - tensor for name, tensor in engine.state_iter()}


def assert_close_by_name(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 2e-6) -> None:
    """Equal up to `tolerance` of the largest entry of all."""
    assert got.keys() == expected.keys()
    scale = max(float(tensor.abs().max()) for tensor in expected.values())
    for name, tensor in expected.items():
        torch.testing.assert_close(
            got[name], tensor, rtol=0.0, atol=tolerance * scale, msg=lambda m, n=name: f"{n}: {m}"
        )
