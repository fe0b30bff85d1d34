# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From a training config to a parallel Archon model with its weights: the order of the steps, and what is refused.

Called by `ArchonEngine.initialize` on all ranks. The model is made on the meta device, cut, and only then gets memory: no rank
ever holds all of it.
"""

from __future__ import annotations

import torch
from torch import nn

from areal.api.cli_args import TrainEngineConfig
from areal.engine.core.matmul import fix_cpu_matmul
from areal.engine.core.topology import Topology, ensure_default_group
from areal.experimental.engine.decoder_model import (
    MAX_UNSHARDED_GRAD_BYTES,
    DecoderModel,
    DecoderSetup,
    reshard_root,
)
from areal.experimental.engine.topology import ArchonTopology
from areal.experimental.engine.weights import copy_full
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.model_spec import ModelSpec, get_model_spec
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.models.hf_model import load_hf_config
from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger

logger = getLogger("archon_engine")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def build_archon_model(config: TrainEngineConfig, topology: Topology) -> DecoderModel:
    """The model of `config.path` on this rank, with the checkpoint's weights or random ones."""
    assert isinstance(topology, ArchonTopology)
    dtype = DTYPES[config.dtype]
    if dtype == torch.float16 and config.optimizer is not None:
        raise ConfigError("expected dtype bfloat16 or float32 for training, got float16: its gradients underflow")
    hf_config = load_hf_config(config.path, config.disable_dropout)
    spec = get_model_spec(hf_config.model_type)
    args = spec.model_args_class.from_hf_config(hf_config)
    adapter = spec.state_dict_adapter_class(args, config.path)
    if dtype != DTYPES[config.optimizer_dtype]:
        ensure_default_group(topology)  # FSDP casts, over a mesh of one rank if need be
    module = _parallel_decoder(config, spec, args, topology)
    setup = DecoderSetup(
        args=args,
        adapter=adapter,
        hf_config=hf_config,
        path=config.path,
        compute_dtype=dtype,
        chunk_size=config.logprobs_chunk_size,
        defers_sync=4 * sum(param.numel() for param in module.parameters()) <= MAX_UNSHARDED_GRAD_BYTES,
    )
    model = DecoderModel(module, setup, topology)
    if config.init_from_scratch:
        _init_alike(module, args, topology)
    else:
        model.load_hf(config.path)
    if topology.device.type == "cpu" and dtype == torch.float32:
        fix_cpu_matmul(module, topology)
    reshard_root(module)
    logger.info("%s (%s): %d parameters, %s", spec.name, hf_config.model_type, model.num_parameters, topology.dims)
    return model


def _parallel_decoder(
    config: TrainEngineConfig, spec: ModelSpec, args: DecoderArgs, topology: ArchonTopology
) -> ScoringDecoder:
    """The decoder cut as the layout says, with memory for this rank's part and nothing in it."""
    with torch.device("meta"):
        module = ScoringDecoder(args)
    module.to(DTYPES[config.optimizer_dtype])
    spec.parallelize_fn(
        module,
        topology.dims,
        param_dtype=DTYPES[config.dtype],
        reduce_dtype=DTYPES[config.grad_reduce_dtype],
    )
    module.to_empty(device=topology.device)
    return module


@torch.no_grad()
def _init_alike(module: nn.Module, args: DecoderArgs, topology: ArchonTopology) -> None:
    """Random weights that do not depend on the layout: every rank draws the whole model from rank 0's seed."""
    seed = topology.broadcast_from_first(int(torch.randint(2**31, ())))
    assert isinstance(seed, int)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = ArchonModel(args)
        whole.init_weights()
    state = whole.state_dict()
    for name, tensor in module.state_dict().items():
        copy_full(tensor, state[name])
