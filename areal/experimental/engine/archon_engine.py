# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`ArchonEngine`: areal's own decoder, trained on packed sequences under every parallel layout.

Workers construct it for `archon:` backend strings. Steps, optimizers and checkpoints are `areal.engine.core`'s; which rank does
what is `topology`'s, building and cutting the model `building`'s.
"""

from __future__ import annotations

from areal.api.cli_args import TrainEngineConfig
from areal.engine.core.engine import CoreTrainEngine
from areal.experimental.engine.building import build_archon_model
from areal.experimental.engine.topology import join_archon


class ArchonEngine(CoreTrainEngine):
    """Trains the HF model at `config.path` (or a random one of its shape), if a family of Archon runs it."""

    def __init__(self, config: TrainEngineConfig) -> None:
        super().__init__(config, build_archon_model, join_archon)
