# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Keys of AReaL 2.0 configurations that this release does not have.

So that existing files load where their meaning is kept: a key without influence on what is computed is accepted and
listed in one warning; a key that asks for a feature of the algorithm or of the run that is absent is an error, unless it
is at its AReaL default. The loader asks `find` for every key that is not in the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Retired:
    """Why a key is gone, and for which values that matters."""

    reason: str
    refuses: Callable[[Any], bool]


def find(config_cls: type, name: str) -> Retired | None:
    """The entry of key `name` in a section of class `config_cls` (or of one that it derives from), if there is one."""
    for cls in config_cls.__mro__:
        entry = _RETIRED.get(cls.__name__, {}).get(name)
        if entry is not None:
            return entry
    return None


def all_entries() -> list[tuple[str, str, Retired]]:
    """Every (class name, key, entry), for the tests."""
    return [(cls, key, entry) for cls, entries in _RETIRED.items() for key, entry in entries.items()]


def _ignored(reason: str, keys: str) -> dict[str, Retired]:
    """Keys that never change what is computed."""
    return {key: Retired(reason, lambda value: False) for key in keys.split()}


def _refused(reason: str, key: str, *harmless: Any) -> dict[str, Retired]:
    """A key that is refused unless its value is null, empty, or one of `harmless`."""
    # `==` would take 0 for False and 1 for True, which is what YAML users mean by them too.
    return {key: Retired(reason, lambda value: value not in (None, "", [], {}, *harmless))}


_LAYOUT = "workers are processes on this machine, laid out by the backend string"
_CONTROL = "there is one controller, and it needs no address, key or log level of its own"
_OTHER_ENGINE = "it configures an engine that is not in this release; `backend` chooses the engine"
_WEIGHTS = "weights always travel as versioned folders on disk"
_LORA = "no LoRA in this release"
_LOADER = "data are read in process by index; no loader workers exist"
_ONE_MACHINE = "this release runs on one machine without a name service"
_MIGRATE_BEHAVE = (
    "it was replaced by `rejection_sampling`: behave_imp_weight_cap=C is rejection_sampling.upper=C (metric ratio), and "
    "behave_imp_weight_mode token_mask | token_truncate | sequence_mask | sequence_truncate is level token | token | "
    "sequence | sequence with action mask | clamp | mask | clamp; disabled is rejection_sampling=null"
)

_EXPERIMENT = {
    **_ignored(_OTHER_ENGINE, "sglang vllm"),
    **_ignored("launch and process settings are derived", "launcher enable_offload"),
    **_ignored("nothing reads it", "total_train_n_seqs"),
    **_ignored("no memory profiler in this release", "memory_profiler"),
    **_refused("give each role its own string: actor.backend, rollout.backend", "allocation_mode"),
    **_refused("run the command from your own script after the run", "post_exit_hook"),
}

_PPO = {
    **_refused("no value model in this release; use group or batch reward normalisation", "critic"),
    **_refused("no distillation in this release", "teacher"),
}

_TRAIN_ENGINE = {
    **_ignored(_LAYOUT, "scheduling_spec scheduling_strategy offload"),
    **_ignored(_CONTROL, "_version admin_api_key log_level request_timeout setup_timeout workers_ready_timeout"),
    **_ignored(_OTHER_ENGINE, "megatron"),
    **_ignored(
        _WEIGHTS,
        "weight_update_mode enable_delta_weight_update weight_update_delta_method weight_update_anchor_interval",
    ),
    **_ignored("micro-batches are packed, never padded", "pad_to_maximum"),
    **_ignored("kernels are chosen by attn_impl", "use_kernels"),
    **_ignored(
        "it has no effect without use_lora, and LoRA is not here", "lora_rank lora_alpha target_modules peft_type"
    ),
    **_refused(_LORA, "use_lora", False),
    **_refused("no tree training in this release", "enable_tree_training", False),
}

_PPO_ACTOR = {
    **_refused("no M2PO in this release", "m2_threshold"),
    **_refused("no SAPO loss in this release", "use_sapo_loss", False),
    **_refused("no CISPO loss in this release", "use_cispo_loss", False),
    **_ignored("it has no effect without use_sapo_loss", "sapo_tau_pos sapo_tau_neg"),
    **_refused("gae_lambda is a number in this release", "gae_lambda_kwargs"),
    **_refused("advantages are per token in this release", "gae_timestep_unit", "token"),
    **_ignored("statistics are always logged", "log_agent_stats log_agent_stats_keys"),
    "behave_imp_weight_cap": Retired(_MIGRATE_BEHAVE, lambda value: True),
    "behave_imp_weight_mode": Retired(_MIGRATE_BEHAVE, lambda value: True),
}

_ROLLOUT = {
    **_ignored(_LAYOUT, "scheduling_spec scheduling_strategy"),
    **_ignored(
        _CONTROL,
        "_version admin_api_key provider_api_key routing_strategy poll_interval workers_ready_timeout model",
    ),
    **_ignored("counters are always on", "enable_rollout_tracing"),
    **_ignored("an update freezes servers without a grace period", "pause_grace_period"),
    **_ignored("it is the top-level tokenizer_path", "tokenizer_path"),
    **_ignored("it has no effect without use_lora", "lora_name"),
    **_ignored("samples of a group are generated together", "serialize_group_samples"),
    **_refused("no external gateway in this release", "api_url"),
    **_refused(_LORA, "use_lora", False),
    **_refused("no router replay in this release", "return_routed_experts", False),
    "agent": Retired(
        "pass the workflow to train(); online agents are not in this release",
        lambda value: isinstance(value, dict) and value.get("mode") == "online",
    ),
}

_SAMPLING = {
    **_ignored("text is only for people: ids from the server are trained on", "skip_special_tokens"),
    **_ignored("it has no effect without LoRA", "lora_name"),
    **_refused("stop strings cut text, not tokens; use stop_token_ids", "stop"),
    **_refused("the trainer cannot reproduce penalised log-probs", "frequency_penalty", 0.0),
    **_refused("beam search draws no samples from the policy", "use_beam_search", False),
    **_refused("use actor.reward_norm", "reward_normalization", False),
}

_DATASET = {
    **_ignored(_LOADER, "pin_memory num_workers num_dataset_workers scheduling_spec setup_timeout"),
}

_LOGGERS = {
    "swanlab": Retired(
        "SwanLab is not in this release; stats.jsonl is always written, and wandb, trackio and tensorboard exist",
        lambda value: isinstance(value, dict) and value.get("mode", "disabled") != "disabled",
    ),
}

_RETIRED: dict[str, dict[str, Retired]] = {
    "BaseExperimentConfig": _EXPERIMENT,
    "PPOConfig": _PPO,
    "TrainEngineConfig": _TRAIN_ENGINE,
    "PPOActorConfig": _PPO_ACTOR,
    "InferenceEngineConfig": _ROLLOUT,
    "GenerationHyperparameters": _SAMPLING,
    "_DatasetConfig": _DATASET,
    "StatsLoggerConfig": _LOGGERS,
    "OptimizerConfig": _ignored(
        "nothing scales the loss", "initial_loss_scale min_loss_scale loss_scale_window hysteresis"
    ),
    "FSDPEngineConfig": _ignored(
        "the engine wraps each decoder layer and steps all at once",
        "wrap_policy per_layer_optim_step optim_step_prefetch_layers shard_vision_across_sp",
    ),
    "ArchonEngineConfig": _ignored("the kernel follows from what the layers need and the machine has", "attn_type"),
    "ArchonFP8Config": {
        **_refused("experts are not converted in this release", "include_experts", False),
        **_ignored("torchao chooses the kernels", "use_triton"),
    },
    "RecoverConfig": {
        **_ignored("restart the command; it resumes by itself", "retries"),
        **_refused("the optimizer state is always saved", "no_save_optim", False),
        **_refused("the optimizer state is always loaded", "no_load_optim", False),
    },
    "WandBConfig": _ignored("the resolved config is always uploaded", "config"),
    "PerfTracerConfig": {
        **_ignored("the timeline holds every rollout", "session_tracer"),
        **_ignored("use the profiler of torch", "profile_steps"),
    },
    "ClusterSpecConfig": _ignored(_ONE_MACHINE, "name_resolve cluster_name"),
    "SchedulerConfig": _ignored(
        _ONE_MACHINE,
        "endpoint deploy_mode functioncall_service_domain reward_functioncall_config reward_model_path "
        "reward_model_service_url",
    ),
}
