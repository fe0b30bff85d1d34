# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`FSDPEngine`: any HF causal LM, trained on packed sequences and sharded over data-parallel ranks with FSDP2.

Workers construct it; everything but building and sharding the model is in `areal.engine.core`. One process whose compute
precision is that of its parameters runs the plain module: FSDP would only add hooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from transformers import PreTrainedConfig, PreTrainedModel

from areal.api.cli_args import TrainEngineConfig
from areal.engine.core.engine import CoreTrainEngine
from areal.engine.core.matmul import fix_cpu_matmul
from areal.engine.core.model import PackedInputs
from areal.engine.core.sequential import SequentialModel
from areal.engine.core.topology import Topology, ensure_default_group
from areal.models.hf_model import (
    checkpoint_activations,
    iterate_hf_weights,
    load_hf_config,
    model_class_of,
    pretrained_model,
    random_model,
    save_configs,
    transformer_blocks,
)
from areal.models.packed_attention.hf import DENSE, AttentionChoice, AttentionNeeds, choose_attention
from areal.models.packed_lm import PackedLM, verify_packing
from areal.utils.errors import ArealError, ConfigError
from areal.utils.logging import getLogger

logger = getLogger("fsdp_engine")

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Gradients of several micro-batches are added up unsharded and reduced once when they fit into this much memory a rank;
# beyond it each micro-batch reduces its own.
MAX_UNSHARDED_GRAD_BYTES = 2 << 30


class FSDPEngine(CoreTrainEngine):
    """Trains the HF model at `config.path` (or a random one of its shape) on one rank of a data-parallel group."""

    def __init__(self, config: TrainEngineConfig) -> None:
        super().__init__(config, build_fsdp_model)


class FSDPPackedModel(SequentialModel):
    """The `PackedModel` of `FSDPEngine`: a `PackedLM`, plain or sharded."""

    module: PackedLM

    def __init__(
        self, module: PackedLM, hidden_matrices: set[str], config: TrainEngineConfig, topology: Topology
    ) -> None:
        super().__init__(module, hidden_matrices, topology.device)
        self.compute_dtype = _DTYPES[config.dtype]
        self._config = config
        self._topology = topology
        grad_bytes = 4 * sum(param.numel() for param in module.parameters())
        self._defers_sync = grad_bytes <= MAX_UNSHARDED_GRAD_BYTES and not _offloads(config, topology)

    @property
    def shares_prefixes(self) -> bool:
        """Whether a group's prompt is computed once: our own kernel and head know about it, others do not."""
        return self.module.attention.name == DENSE and self.module.has_fused_head

    def logprobs(self, inputs: PackedInputs, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        """Log-probs of the labels and entropies, float32 `[U]`."""
        outputs = self.module(
            inputs.input_ids, inputs.layout, inputs.labels, temperature, with_entropy, inputs.prediction_rows
        )
        if not torch.is_grad_enabled():
            _reshard_root(self.module)
        return outputs

    def set_gradient_sync(self, is_last: bool) -> None:
        """Reduce gradients in the backward of the last micro-batch, or in each where unsharded sums would not fit."""
        if isinstance(self.module, FSDPModule):
            self.module.set_requires_gradient_sync(is_last or not self._defers_sync)

    def must_run_in_step(self) -> bool:
        """Whether forwards and backwards contain collectives of several ranks."""
        return self._topology.world_size > 1

    def state_iter(self) -> Iterator[tuple[str, Tensor]]:
        """HF names and full CPU tensors in the compute dtype."""
        return iterate_hf_weights(self.module.hf, self.compute_dtype)

    def load_hf(self, path: str) -> None:
        """Replace all weights; rank 0 reads the files and the others receive their shards."""
        source = error = None
        if self._topology.rank == 0:
            try:
                source = pretrained_model(path, self.module.hf.config, "eager", _DTYPES[self._config.optimizer_dtype])
            except (ArealError, OSError, ValueError, RuntimeError) as failure:
                error = failure
        self._topology.raise_together(error)
        _load_weights(self.module, source, self.device)

    def save_hf_configs(self, folder: Path) -> None:
        """Write the model's configs."""
        architecture = model_class_of(self.module.hf.config).__name__
        save_configs(self.module.hf, architecture, self.compute_dtype, folder)


def build_fsdp_model(config: TrainEngineConfig, topology: Topology) -> FSDPPackedModel:
    """Load or initialise the model, shard it, and prove that it keeps packed sequences apart."""
    dtype = _DTYPES[config.dtype]
    if dtype == torch.float16 and config.optimizer is not None:
        raise ConfigError("expected dtype bfloat16 or float32 for training, got float16: its gradients underflow")
    if config.is_critic:
        raise ConfigError("expected is_critic=false with the fsdp backend, got true; use an archon backend")
    hf_config = load_hf_config(config.path, config.disable_dropout)
    needs = AttentionNeeds.of(model_class_of(hf_config), hf_config)
    attention = choose_attention(config.attn_impl, needs, topology.device, dtype)
    hf_model = _make_hf_model(config, hf_config, attention, topology)
    if config.gradient_checkpointing:
        checkpoint_activations(hf_model)
    module = PackedLM(hf_model, attention, config.logprobs_chunk_size)
    blocks = transformer_blocks(hf_model)
    hidden_matrices = _matrix_names(module, blocks)
    is_sharded = _needs_sharding(config, topology)
    if is_sharded:
        _shard(module, blocks, config, topology)
    model = FSDPPackedModel(module, hidden_matrices, config, topology)
    if config.fsdp.memory_efficient_load:
        module.to_empty(device="cpu" if _offloads(config, topology) else topology.device)
        model.load_hf(config.path)
    if topology.device.type == "cpu" and dtype == torch.float32:
        fix_cpu_matmul(hf_model, topology)
    verify_packing(module, hf_config, topology.device, dtype)
    _reshard_root(module)
    logger.info(
        "%s: attention %s (%s), head %s, %s",
        model_class_of(hf_config).__name__,
        attention.name,
        attention.reason,
        "fused with the loss" if module.has_fused_head else "as in HF, with full logits",
        f"sharded over {topology.world_size} ranks" if is_sharded else "not sharded",
    )
    return model


def _make_hf_model(
    config: TrainEngineConfig, hf_config: PreTrainedConfig, attention: AttentionChoice, topology: Topology
) -> PreTrainedModel:
    """The unsharded model on its device, equal on all ranks; on meta if rank 0 is to broadcast it later."""
    storage_dtype = _DTYPES[config.optimizer_dtype]
    if config.fsdp.memory_efficient_load:
        with torch.device("meta"):
            return random_model(hf_config, attention.name, storage_dtype)
    if config.init_from_scratch:
        model = random_model(hf_config, attention.name, storage_dtype)
    else:
        model = pretrained_model(config.path, hf_config, attention.name, storage_dtype)
    if not _offloads(config, topology):
        model.to(topology.device)
    if config.init_from_scratch and topology.group is not None:
        for param in model.parameters():  # ranks may have been seeded differently
            dist.broadcast(param.data, src=0, group=topology.group)
    return model


def _needs_sharding(config: TrainEngineConfig, topology: Topology) -> bool:
    casts = config.dtype != config.optimizer_dtype
    return topology.world_size > 1 or casts or _offloads(config, topology)


def _offloads(config: TrainEngineConfig, topology: Topology) -> bool:
    return config.fsdp.offload_params and topology.device.type == "cuda"


def _matrix_names(module: PackedLM, blocks: list[nn.Module]) -> set[str]:
    inside = {id(param) for block in blocks for param in block.parameters() if param.ndim == 2}
    return {name for name, param in module.named_parameters() if id(param) in inside}


def _shard(module: PackedLM, blocks: list[nn.Module], config: TrainEngineConfig, topology: Topology) -> None:
    """FSDP2 on each block and on the rest; gradients are summed over ranks, because the loss is divided globally."""
    ensure_default_group(topology)
    mesh = topology.data_parallel_mesh()
    policy = MixedPrecisionPolicy(param_dtype=_DTYPES[config.dtype], reduce_dtype=_DTYPES[config.grad_reduce_dtype])
    offload = CPUOffloadPolicy() if _offloads(config, topology) else OffloadPolicy()
    for part in (*blocks, module):
        fully_shard(part, mesh=mesh, mp_policy=policy, offload_policy=offload)
        assert isinstance(part, FSDPModule)
        # A sum without pre-scaling: gloo has no scaled reductions, and dividing once, in the loss, is exact.
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)


def _reshard_root(module: PackedLM) -> None:
    """After a forward without backward: FSDP leaves the root's parameters gathered, which breaks loading into them."""
    if isinstance(module, FSDPModule):
        module.reshard()


def _load_weights(module: PackedLM, source: PreTrainedModel | None, device: torch.device) -> None:
    """Copy all weights and buffers of `source`, which only rank 0 has, into a plain or sharded module that runs on `device`."""
    state = {} if source is None else {f"hf.{name}": tensor for name, tensor in source.state_dict().items()}
    if not isinstance(module, FSDPModule):
        module.load_state_dict(state)
        return
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=dist.get_world_size() > 1)
    # torch loads onto one device: that of the parameters, which is the host where they are offloaded.
    _move_buffers(module, next(module.parameters()).device)
    set_model_state_dict(module, state, options=options)
    _move_buffers(module, device)
    # Rotary frequencies are in no file; a module that came from the meta device has only memory for them.
    sources = {} if source is None else {f"hf.{name}": tensor for name, tensor in source.named_buffers()}
    for name, buffer in module.named_buffers():
        if source is not None:
            buffer.copy_(sources[name])
        dist.broadcast(buffer, src=0)


def _move_buffers(module: nn.Module, device: torch.device) -> None:
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = buffer.to(device)
