# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What an experiment derives from its own settings, and the contradictions it refuses.

Called by the `__post_init__` of the experiment classes, in the order written there; every step is idempotent, so that a
copied config resolves to itself. Errors quote all values that contradict each other, by dotted path, and the fix.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from areal.api.alloc_mode import INFERENCE_BACKENDS, TRAIN_BACKENDS, ModelAllocation
from areal.api.config.generation import TOP_K_OFF
from areal.utils.errors import ConfigError

if TYPE_CHECKING:
    from areal.api.config.algorithm import NormConfig
    from areal.api.config.experiment import BaseExperimentConfig, PPOConfig, SFTConfig

_T = TypeVar("_T")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def same_or_filled(path: str, value: _T | None, source_path: str, source: _T) -> _T:
    """`source` when `value` is unset (None or empty) or equal; otherwise `ConfigError` quoting both."""
    if value is None or value == "" or value == source:
        return source
    raise ConfigError(
        f"{path}: expected the value of {source_path} ({source!r}), got {value!r}; "
        f"remove {path} (it is derived) or make them equal"
    )


def sections(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, dataclass instance) for every config section below `config`, parents first."""
    for name, value in vars(config).items():
        if dataclasses.is_dataclass(value):
            yield f"{path}{name}", value
            yield from sections(value, f"{path}{name}.")


def check_names(config: BaseExperimentConfig) -> None:
    """Names are required and are single path components."""
    for field, value in (("experiment_name", config.experiment_name), ("trial_name", config.trial_name)):
        if not _NAME.fullmatch(value) or value in (".", "..", "???"):
            raise ConfigError(
                f"{field}: expected a non-empty name of letters, digits, '_', '-' and '.' (it becomes a folder), "
                f"got {value!r}; set {field}=..."
            )


def fill_names(config: BaseExperimentConfig) -> None:
    """Give experiment_name, trial_name and fileroot, asked once, to every section that has them."""
    sources = {
        "experiment_name": ("experiment_name", config.experiment_name),
        "trial_name": ("trial_name", config.trial_name),
        "fileroot": ("cluster.fileroot", config.cluster.fileroot),
    }
    for path, section in sections(config):
        values = vars(section)
        for field in sources.keys() & values.keys():
            values[field] = same_or_filled(f"{path}.{field}", values[field], *sources[field])


def derive_common(config: SFTConfig | PPOConfig, *, dataset_type: str) -> None:
    """Tokenizer, engine backend and dataset types."""
    config.tokenizer_path = config.tokenizer_path or config.actor.path
    config.actor.backend = config.actor.backend or "fsdp:d1"
    _check_backend("actor.backend", config.actor.backend, TRAIN_BACKENDS)
    if config.actor.is_critic:
        raise ConfigError("actor.is_critic: expected false, got true; an actor has logits. Remove it")
    config.train_dataset.type = config.train_dataset.type or dataset_type
    if config.valid_dataset is not None:
        config.valid_dataset.type = config.valid_dataset.type or dataset_type


def derive_ppo(config: PPOConfig) -> None:
    """Everything that reinforcement learning derives; see the messages for what may not differ."""
    actor, gconfig = config.actor, config.gconfig
    if config.eval_gconfig is None:
        config.eval_gconfig = gconfig.new()
    _check_backend("rollout.backend", config.rollout.backend, INFERENCE_BACKENDS)
    config.native.model_path = config.native.model_path or actor.path
    config.native.dtype = config.native.dtype or actor.dtype
    config.rollout.consumer_batch_size = same_or_filled(
        "rollout.consumer_batch_size",
        config.rollout.consumer_batch_size,
        "train_dataset.batch_size",
        config.train_dataset.batch_size,
    )
    actor.temperature = same_or_filled(
        "actor.temperature", actor.temperature, "gconfig.temperature", gconfig.temperature
    )
    actor.max_new_tokens = same_or_filled(
        "actor.max_new_tokens", actor.max_new_tokens, "gconfig.max_new_tokens", gconfig.max_new_tokens
    )
    _derive_group_size("actor.reward_norm", actor.reward_norm, gconfig.n_samples)
    _derive_group_size("actor.adv_norm", actor.adv_norm, gconfig.n_samples)
    _derive_reference(config)


def check_sampling(config: PPOConfig) -> None:
    """Sampling that the trainer cannot reproduce, and what deterministic sampling excludes."""
    gconfig = config.gconfig
    for name, value, needed, inexact in (
        ("top_p", gconfig.top_p, 1.0, gconfig.top_p < 1),
        ("top_k", gconfig.top_k, TOP_K_OFF, gconfig.top_k < TOP_K_OFF),
        ("greedy", gconfig.greedy, False, gconfig.greedy),
    ):
        if inexact:
            raise ConfigError(
                f"gconfig.{name}: expected {needed}, got {value}; the trainer computes log-probs over the whole "
                "vocabulary, so samples from a truncated distribution would have wrong importance ratios. "
                f"Use eval_gconfig.{name} for evaluation only"
            )
    if not config.rollout.deterministic_sampling:
        return
    if config.rollout.max_head_offpolicyness != 0:
        raise ConfigError(
            "rollout.max_head_offpolicyness: expected 0 with rollout.deterministic_sampling=true, got "
            f"{config.rollout.max_head_offpolicyness}; with overlap, which weights sample which token depends on timing"
        )
    for path, sampling in (("gconfig", gconfig), ("eval_gconfig", config.eval_gconfig)):
        if sampling.n_samples > 1 and sampling.seed is not None:
            raise ConfigError(
                f"{path}.seed: expected null with rollout.deterministic_sampling=true and {path}.n_samples="
                f"{sampling.n_samples}, got {sampling.seed}; one seed would make all samples of a group equal, "
                "set the top-level seed instead"
            )


def check_lengths(config: PPOConfig) -> None:
    """The longest prompt plus the longest answer fits every limit that it meets, before anything starts."""
    limits: dict[str, int | None] = {}
    if config.rollout.backend.startswith("native"):
        limits["native.max_model_len"] = config.native.max_model_len
    train_limits = {
        "gconfig.max_tokens": config.gconfig.max_tokens,
        **limits,
        "actor.mb_spec.max_tokens_per_mb": config.actor.mb_spec.max_tokens_per_mb,
    }
    _check_fit("train_dataset", config.train_dataset.max_length, "gconfig", config.gconfig.max_new_tokens, train_limits)
    if config.valid_dataset is not None:
        eval_limits = {"eval_gconfig.max_tokens": config.eval_gconfig.max_tokens, **limits}
        _check_fit(
            "valid_dataset",
            config.valid_dataset.max_length,
            "eval_gconfig",
            config.eval_gconfig.max_new_tokens,
            eval_limits,
        )


def _check_backend(path: str, spec: str, backends: Iterable[str]) -> None:
    allocation = ModelAllocation.from_str(spec)
    if allocation.backend not in backends:
        raise ConfigError(
            f"{path}: expected one of the backends {', '.join(backends)}, got {spec!r}; change the backend"
        )


def _check_fit(
    dataset: str, max_length: int | None, sampling: str, max_new_tokens: int, limits: dict[str, int | None]
) -> None:
    # Without max_length the shortest prompt is one token: an answer alone that fills a limit can never fit.
    longest = (1 if max_length is None else max_length) + max_new_tokens
    too_small = [f"{path}={limit}" for path, limit in limits.items() if limit is not None and limit < longest]
    if too_small:
        raise ConfigError(
            f"{' and '.join(too_small)}: expected at least {longest} tokens = {dataset}.max_length={max_length} "
            f"+ {sampling}.max_new_tokens={max_new_tokens}; raise the limit, or lower {dataset}.max_length or "
            f"{sampling}.max_new_tokens (all limits: "
            + ", ".join(f"{path}={limit}" for path, limit in limits.items())
            + ")"
        )


def _derive_group_size(path: str, norm: NormConfig | None, n_samples: int) -> None:
    if norm is None or "group" not in (norm.mean_level, norm.std_level):
        return
    given = None if norm.group_size == 1 else norm.group_size
    norm.group_size = same_or_filled(f"{path}.group_size", given, "gconfig.n_samples", n_samples)
    if n_samples == 1 and norm.mean_level == "group":
        warnings.warn(
            f"{path}.mean_level=group with gconfig.n_samples=1: every value minus its own mean is 0, so nothing is "
            "learned; raise gconfig.n_samples or use mean_level=batch",
            stacklevel=5,
        )


def _derive_reference(config: PPOConfig) -> None:
    kl_ctl, ref = config.actor.kl_ctl, config.ref
    if kl_ctl > 0 and ref is None:
        raise ConfigError(
            f"actor.kl_ctl={kl_ctl}: expected a `ref` section with it, got none; add `ref: {{}}` (the model of "
            "actor.path) or set actor.kl_ctl=0"
        )
    if ref is None:
        return
    if kl_ctl == 0:
        warnings.warn("`ref` is given but actor.kl_ctl=0: no reference engine is created", stacklevel=5)
        config.ref = None
        return
    ref.path = ref.path or config.actor.path
    ref.backend = same_or_filled("ref.backend", ref.backend, "actor.backend", config.actor.backend)
    ref.temperature = same_or_filled("ref.temperature", ref.temperature, "actor.temperature", config.actor.temperature)
