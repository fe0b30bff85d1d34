# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a training engine: micro-batches, optimizer, precision, and what each backend has of its own."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any

from areal.api.config.fields import check_fields, setting
from areal.utils.errors import ConfigError

DTYPE_ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_DEFAULT_WARMUP_PROPORTION = 0.001


@dataclass
class MicroBatchSpec:
    """How a batch is cut into micro-batches; the loss does not depend on it."""

    n_mbs: int | None = setting(1, "Number of micro-batches, or the least number when a token cap is given.", ge=1)
    granularity: int = setting(1, "This many adjacent sequences stay together.", unit="sequences", ge=1)
    max_tokens_per_mb: int | None = setting(
        None, "Most un-padded tokens in one micro-batch; None sets no cap.", unit="tokens", ge=1
    )
    n_mbs_divisor: int = setting(1, "The number of micro-batches is a multiple of this.", ge=1)
    packing_algorithm: str = setting(
        "ffd", "First-fit-decreasing bins (ffd) or balanced Karmarkar-Karp bins (kk).", choices=("ffd", "kk")
    )

    def __post_init__(self) -> None:
        check_fields(self)

    @staticmethod
    def new(spec: MicroBatchSpec, **changes: Any) -> MicroBatchSpec:
        """A copy of `spec` with `changes` applied and checked."""
        return dataclasses.replace(spec, **changes)


@dataclass
class OptimizerConfig:
    """Optimizer and learning-rate schedule."""

    type: str = setting(
        "adam",
        "AdamW (adam), plain SGD (sgd), or Muon on matrices with AdamW on the rest (muon).",
        choices=("adam", "sgd", "muon"),
        not_here={"adam_bf16": "use type=adam with actor.optimizer_dtype=bfloat16"},
    )
    lr: float = setting(1e-3, "Peak learning rate.", ge=0)
    weight_decay: float = setting(0.01, "Decoupled weight decay.", ge=0)
    beta1: float = setting(0.9, "Decay of the first moment (momentum for sgd and muon).", ge=0, le=1)
    beta2: float = setting(0.999, "Decay of the second moment.", ge=0, le=1)
    eps: float = setting(1e-8, "Added to the root of the second moment.", gt=0)
    min_lr_ratio: float = setting(0.0, "Final learning rate as a share of the peak.", ge=0, le=1)
    lr_scheduler_type: str = setting(
        "constant", "Shape of the schedule after the warm-up.", choices=("constant", "linear", "cosine")
    )
    warmup_steps_proportion: float = setting(
        _DEFAULT_WARMUP_PROPORTION, "Share of all steps spent in the warm-up.", ge=0, le=1
    )
    warmup_steps: int | None = setting(
        None, "Warm-up length; wins over warmup_steps_proportion.", unit="optimizer steps", ge=0
    )
    gradient_clipping: float = setting(1.0, "Largest global gradient norm.", gt=0)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.warmup_steps is not None and self.warmup_steps_proportion != _DEFAULT_WARMUP_PROPORTION:
            warnings.warn(
                f"warmup_steps={self.warmup_steps} and warmup_steps_proportion={self.warmup_steps_proportion} "
                "are both set; warmup_steps is used",
                stacklevel=3,
            )


@dataclass
class FSDPEngineConfig:
    """Settings of the FSDP2 backend alone."""

    offload_params: bool = setting(False, "Keep parameters, gradients and optimizer state in host memory.")
    memory_efficient_load: bool = setting(False, "Rank 0 alone reads the checkpoint, and broadcasts it.")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class ArchonFP8Config:
    """8-bit floating point products in the dense projections of the Archon backend; weights keep their precision."""

    mode: str = setting(
        "disabled",
        "Scales of the operands: one a tensor, one a row, or one a row with gradients of weights in bfloat16 (gw_hp).",
        choices=("disabled", "tensorwise", "rowwise", "rowwise_with_gw_hp"),
        not_here={"blockwise": "use mode=rowwise; scales of blocks of 128 are not among torchao's recipes"},
    )
    exclude_modules: list[str] = setting(
        factory=lambda: ["output", "router", "score"],
        help="Parts of names, such as w2 or layers.0, of layers left out; head, routers and score always are.",
    )
    emulate: bool = setting(
        False, "Round operands but multiply in float32: shows the accuracy on any device, no speed."
    )

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def enabled(self) -> bool:
        """Whether any product is 8-bit."""
        return self.mode != "disabled"


@dataclass
class ArchonEngineConfig:
    """Settings of the Archon backend alone."""

    offload_params: bool = setting(False, "Keep parameters, gradients and optimizer state in host memory.")
    reshard_after_forward_policy: str = setting(
        "default",
        "Whether blocks give gathered parameters back after the forward; default does unless there is a pipeline.",
        choices=("default", "always", "never"),
    )
    ac_mode: str = setting(
        "selective",
        "What is recomputed with gradient_checkpointing: whole blocks (full), some (selective), or what the compiler likes.",
        choices=("none", "full", "selective", "memory_budget"),
    )
    selective_ac_option: str = setting(
        "op", "For selective: a number N for every N-th block, or op for all but the results of dear operators."
    )
    ac_memory_budget: float = setting(
        0.5, "For memory_budget: share of the memory that keeping everything would take.", ge=0, le=1
    )
    ac_preserve_rng_state: bool = setting(False, "Recompute with the random numbers of the forward.")
    enable_compile: bool = setting(False, "Compile blocks with torch.compile.")
    pp_schedule: str = setting(
        "Interleaved1F1B",
        "Order of micro-batches in a pipeline.",
        choices=("1F1B", "Interleaved1F1B", "InterleavedZeroBubble", "ZBVZeroBubble"),
    )
    pp_layers_per_stage: int | None = setting(
        None,
        "Layers of a pipeline stage; None means 1 stage a rank for 1F1B and 2 for the others.",
        unit="layers",
        ge=1,
    )
    pp_first_stage_less_layers: int = setting(
        1, "Layers that the embedding counts for when layers are shared out.", unit="layers", ge=0
    )
    pp_last_stage_less_layers: int = setting(
        1, "Layers that the head counts for when layers are shared out.", unit="layers", ge=0
    )
    moe_router_dtype: str | None = setting(
        "float32", "Precision of router logits; None means that of the model.", choices=("float32", None)
    )
    moe_bias_update_rate: float = setting(
        0.0, "Step of the experts' selection biases against their load, once an optimizer step; 0 leaves them.", ge=0
    )
    moe_aux_loss_coeff: float = setting(0.0, "Weight of the load-balancing loss of routers.", ge=0)
    moe_z_loss_coeff: float = setting(0.0, "Weight of the squared log-normaliser of router logits.", ge=0)
    fp8_config: ArchonFP8Config = setting(
        factory=ArchonFP8Config, help="8-bit floating point products; needs dtype=bfloat16 and the extra fp8."
    )
    use_deterministic_algorithms: bool = setting(
        False, "Kernels that give the same bits in every run, where there are any, at some cost in speed."
    )

    def __post_init__(self) -> None:
        self.moe_router_dtype = DTYPE_ALIASES.get(self.moe_router_dtype or "", self.moe_router_dtype)
        check_fields(self)


@dataclass
class TrainEngineConfig:
    """One training role (actor, reference): model, precision, batching, optimizer, layout."""

    experiment_name: str = setting("", "Name of the experiment; filled from the top level.")
    trial_name: str = setting("", "Name of the trial; filled from the top level.")
    path: str = setting("", "Folder or hub id of the HF checkpoint; for the reference, empty means actor.path.")
    attn_impl: str = setting(
        "auto",
        "Attention kernel; auto takes the fastest one that this machine has.",
        choices=("auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"),
    )
    init_from_scratch: bool = setting(False, "Random weights; only the config of the checkpoint is read.")
    temperature: float | None = setting(
        None, "Divisor of the logits in training; None means gconfig.temperature (1.0 without sampling).", gt=0
    )
    logprobs_chunk_size: int = setting(
        1024, "Tokens whose logits exist at a time when log-probs and entropy are computed.", unit="tokens", ge=1
    )
    mb_spec: MicroBatchSpec = setting(factory=MicroBatchSpec, help="How batches are cut into micro-batches.")
    disable_dropout: bool = setting(False, "Switch off every dropout layer.")
    gradient_checkpointing: bool = setting(False, "Recompute activations in the backward pass to save memory.")
    dtype: str = setting("bfloat16", "Compute precision.", choices=("float32", "bfloat16", "float16"))
    grad_reduce_dtype: str = setting(
        "float32", "Precision of the gradient reduction.", choices=("float32", "bfloat16", "float16")
    )
    optimizer_dtype: str = setting(
        "float32", "Precision in which parameters and optimizer state are kept.", choices=("float32", "bfloat16")
    )
    optimizer: OptimizerConfig | None = setting(None, "The optimizer; None means the role is never trained.")
    fsdp: FSDPEngineConfig = setting(factory=FSDPEngineConfig, help="Settings of the FSDP2 backend.")
    archon: ArchonEngineConfig = setting(factory=ArchonEngineConfig, help="Settings of the Archon backend.")
    is_critic: bool = setting(False, "The model has one value a token in place of logits.")
    backend: str = setting("", "Engine and layout such as fsdp:d2; empty means fsdp:d1 (the reference: the actor's).")

    def __post_init__(self) -> None:
        self.dtype = DTYPE_ALIASES.get(self.dtype, self.dtype)
        self.grad_reduce_dtype = DTYPE_ALIASES.get(self.grad_reduce_dtype, self.grad_reduce_dtype)
        self.optimizer_dtype = DTYPE_ALIASES.get(self.optimizer_dtype, self.optimizer_dtype)
        check_fields(self)
        if self.fsdp.memory_efficient_load and self.init_from_scratch:
            raise ConfigError(
                f"{type(self).__name__}.fsdp: expected memory_efficient_load=false with init_from_scratch=true "
                "(there is no checkpoint to load), got true for both; switch one off"
            )
