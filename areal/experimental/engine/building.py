# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From a training config to a parallel Archon model with its weights: the order of the steps, and what is refused.

Called by `ArchonEngine.initialize` on all ranks. The model is made on the meta device, cut, and only then gets memory: no rank
ever holds all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from areal.api.cli_args import ArchonEngineConfig, ArchonFP8Config, TrainEngineConfig
from areal.engine.core.matmul import fix_cpu_matmul
from areal.engine.core.model import PackedModel
from areal.engine.core.topology import Topology, ensure_default_group
from areal.experimental.engine.decoder_model import DecoderModel
from areal.experimental.engine.pipelined_model import PipelinedModel
from areal.experimental.engine.stored import DecoderSetup
from areal.experimental.engine.topology import ArchonTopology
from areal.experimental.engine.weights import copy_full
from areal.experimental.models.archon.model import ArchonModel, ModelPart
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.model_spec import ModelSpec, get_model_spec
from areal.experimental.models.archon.parallel.activation import ActivationCheckpointConfig
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.fp8 import Fp8Config
from areal.experimental.models.archon.parallel.fsdp import defers_reduction
from areal.experimental.models.archon.parallel.pipeline import PipelineRunner
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.parallel.stages import count_stages, model_parts, stages_of_rank
from areal.experimental.models.archon.parallel.validate import check_layout
from areal.models.hf_model import load_hf_config
from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger

logger = getLogger("archon_engine")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def build_archon_model(config: TrainEngineConfig, topology: Topology) -> PackedModel:
    """The model of `config.path` on this rank, with the checkpoint's weights or random ones."""
    assert isinstance(topology, ArchonTopology)
    _check(config)
    if config.archon.use_deterministic_algorithms:
        _use_deterministic_algorithms()
    hf_config = load_hf_config(config.path, config.disable_dropout)
    spec = get_model_spec(hf_config.model_type)
    args = spec.model_args_class.from_hf_config(hf_config, is_critic=config.is_critic)
    check_layout(args, topology.dims)
    if config.dtype != config.optimizer_dtype or config.archon.offload_params:
        ensure_default_group(topology)  # FSDP casts, over a mesh of one rank if need be
    num_stages = _num_stages(config.archon, args, topology.dims)
    modules = [_parallel_decoder(config, spec, args, part, topology) for part in _own_parts(config, args, topology)]
    setup = DecoderSetup(
        args=args,
        adapter=spec.state_dict_adapter_class(args, config.path),
        hf_config=hf_config,
        path=config.path,
        compute_dtype=DTYPES[config.dtype],
        chunk_size=config.logprobs_chunk_size,
        defers_sync=defers_reduction(_num_own_parameters(modules), config.archon.offload_params),
    )
    model: DecoderModel | PipelinedModel
    if topology.dims.pp_enabled:
        runner = PipelineRunner(
            modules, topology.dims, config.archon.pp_schedule, num_stages, setup.compute_dtype, topology.device
        )
        model = PipelinedModel(modules, runner, setup, config.archon, topology)
    else:
        model = DecoderModel(modules[0], setup, config.archon, topology)
    if config.init_from_scratch:
        _init_alike(model.module, args, topology)
    else:
        if args.is_critic:  # the checkpoint of a language model has no score, that of a critic overwrites it
            _init_score(model.module, args, topology)
        model.load_hf(config.path)
    if topology.device.type == "cpu" and config.dtype == "float32":
        fix_cpu_matmul(model.module, topology)
    logger.info("%s (%s): %d parameters, %s", spec.name, hf_config.model_type, model.num_parameters, topology.dims)
    return model


def _check(config: TrainEngineConfig) -> None:
    if config.dtype == "float16" and config.optimizer is not None:
        raise ConfigError("expected dtype bfloat16 or float32 for training, got float16: its gradients underflow")
    if config.attn_impl != "auto":
        raise ConfigError(
            f"expected attn_impl=auto with an archon backend (kernels follow from what layers need), got {config.attn_impl}"
        )


def _use_deterministic_algorithms() -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def _num_stages(config: ArchonEngineConfig, args: DecoderArgs, dims: ArchonParallelDims) -> int:
    if not dims.pp_enabled:
        return 1
    return count_stages(args.num_layers, dims.pp, config.pp_schedule, config.pp_layers_per_stage)


def _own_parts(config: TrainEngineConfig, args: DecoderArgs, topology: ArchonTopology) -> list[ModelPart]:
    """The parts of the decoder that this rank holds."""
    dims, archon = topology.dims, config.archon
    if not dims.pp_enabled:
        return [ModelPart.whole(args)]
    num_stages = _num_stages(archon, args, dims)
    less_layers = archon.pp_first_stage_less_layers, archon.pp_last_stage_less_layers
    parts = model_parts(args, num_stages, archon.pp_schedule, less_layers)
    own = stages_of_rank(dims.local_rank("pp"), dims.pp, num_stages, archon.pp_schedule)
    return [parts[stage] for stage in own]


def _parallel_decoder(
    config: TrainEngineConfig, spec: ModelSpec, args: DecoderArgs, part: ModelPart, topology: ArchonTopology
) -> ScoringDecoder:
    """A part of the decoder, cut as the layout says, with memory for this rank's share and nothing in it."""
    archon = config.archon
    with torch.device("meta"):
        module = ScoringDecoder(args, part)
    module.to(DTYPES[config.optimizer_dtype])
    offloads = archon.offload_params and topology.device.type == "cuda"
    spec.parallelize_fn(
        module,
        topology.dims,
        param_dtype=DTYPES[config.dtype],
        reduce_dtype=DTYPES[config.grad_reduce_dtype],
        cpu_offload=offloads,
        reshard_after_forward_policy=archon.reshard_after_forward_policy,
        ac_config=_checkpointing(config),
        enable_compile=archon.enable_compile,
        fp8_config=_fp8(archon.fp8_config),
    )
    module.to_empty(device="cpu" if offloads else topology.device)
    module.init_buffers(topology.device)
    return module


def _checkpointing(config: TrainEngineConfig) -> ActivationCheckpointConfig | None:
    archon = config.archon
    if not config.gradient_checkpointing or archon.ac_mode == "none":
        return None
    return ActivationCheckpointConfig(
        mode=archon.ac_mode,  # type: ignore[arg-type]
        selective_ac_option=archon.selective_ac_option,
        memory_budget=archon.ac_memory_budget,
        preserve_rng_state=archon.ac_preserve_rng_state or archon.use_deterministic_algorithms,
    )


def _fp8(config: ArchonFP8Config) -> Fp8Config | None:
    if not config.enabled:
        return None
    return Fp8Config(recipe=config.mode, exclude=tuple(config.exclude_modules), emulate=config.emulate)  # type: ignore[arg-type]


def _num_own_parameters(modules: list[ScoringDecoder]) -> int:
    return sum(param.numel() for module in modules for param in module.parameters())


def _init_alike(module: nn.Module, args: DecoderArgs, topology: ArchonTopology) -> None:
    """Random weights that do not depend on the layout: every rank draws the whole model."""
    with _same_random_numbers(topology):
        whole = ArchonModel(args)
        whole.init_weights()
    state = whole.state_dict()
    for name, tensor in module.state_dict().items():
        copy_full(tensor, state[name])


def _init_score(module: nn.Module, args: DecoderArgs, topology: ArchonTopology) -> None:
    with _same_random_numbers(topology):
        weight = torch.randn(1, args.hidden_size) * args.init_std
    state = module.state_dict()
    if "score.weight" in state:
        copy_full(state["score.weight"], weight)


@contextmanager
def _same_random_numbers(topology: ArchonTopology) -> Iterator[None]:
    """All ranks draw the same numbers, which depend on the random state of rank 0."""
    seed = topology.broadcast_from_first(int(torch.randint(2**31, ())))
    assert isinstance(seed, int)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
