# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The weights of an Archon model of this rank, by HF name: exported whole, loaded, and described for a saved model.

Held by the models that the engine core drives. Collective over all ranks; with a pipeline each stage gives what it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedConfig

from areal.experimental.engine.hf_files import save_hf_configs, weight_directory
from areal.experimental.engine.topology import ArchonTopology
from areal.experimental.engine.weights import full_tensor, iterate_hf_weights, load_weights
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.weights.adapter import StateDictAdapter
from areal.utils.errors import ArealError


@dataclass(frozen=True, kw_only=True)
class DecoderSetup:
    """What a model was built from."""

    args: DecoderArgs
    adapter: StateDictAdapter
    hf_config: PreTrainedConfig
    path: str
    compute_dtype: torch.dtype
    chunk_size: int
    defers_sync: bool


class StoredWeights:
    """Parameters and buffers of `module`, this rank's part of the model that `setup` describes."""

    def __init__(self, module: nn.Module, setup: DecoderSetup, topology: ArchonTopology) -> None:
        self._module = module
        self._setup = setup
        self._topology = topology
        with torch.device("meta"):
            whole = ArchonModel(setup.args)
        self.num_parameters = sum(param.numel() for param in whole.parameters())
        self._whole = whole.state_dict()
        self._exact = frozenset(name for name, _ in whole.named_buffers())
        self._owners = _owners(module, topology) if topology.dims.pp_enabled else None

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """See `PackedModel.state_iter`."""
        state = self._module.state_dict()
        return iterate_hf_weights(
            self._setup.adapter, lambda name: self._gather(name, state), self._setup.compute_dtype, self._exact
        )

    def _gather(self, name: str, state: dict[str, Tensor]) -> Tensor:
        """The full tensor on all ranks; from the stage that has it, where there are several."""
        if self._owners is None:
            return full_tensor(state[name])
        owner, dtype = self._owners[name]
        if name in state:
            # Offloaded parameters are on the host: all stages must broadcast on the same device.
            full = full_tensor(state[name]).to(self._topology.device).contiguous()
        else:
            full = torch.empty(self._whole[name].shape, dtype=dtype, device=self._topology.device)
        dist.broadcast(full, group_src=owner, group=self._topology.dims.get_group("pp"))
        return full

    def load(self, path: str) -> None:
        """See `PackedModel.load_hf`: every rank reads the files and keeps its shards."""
        error = None
        try:
            load_weights(self._module.state_dict(), self._setup.adapter, weight_directory(path))
        except (ArealError, OSError, ValueError, RuntimeError) as failure:
            error = failure
        self._topology.raise_together(error)

    def save_configs(self, folder: Path) -> None:
        """See `PackedModel.save_hf_configs`."""
        setup = self._setup
        save_hf_configs(setup.hf_config, setup.path, setup.args.is_critic, setup.compute_dtype, folder)


def _owners(module: nn.Module, topology: ArchonTopology) -> dict[str, tuple[int, torch.dtype]]:
    """Which pipeline rank has which tensor, and in which dtype."""
    dims = topology.dims
    found: list[dict[str, torch.dtype]] = [{} for _ in range(dims.pp)]
    dist.all_gather_object(
        found, {name: tensor.dtype for name, tensor in module.state_dict().items()}, group=dims.get_group("pp")
    )
    return {name: (rank, dtype) for rank, dtypes in enumerate(found) for name, dtype in dtypes.items()}
