# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of generation: the rollout client and the embedded `native` server."""

from __future__ import annotations

from dataclasses import dataclass

from areal.api.config.engine import DTYPE_ALIASES
from areal.api.config.fields import check_fields, setting


@dataclass
class InferenceEngineConfig:
    """The rollout client: concurrency, staleness, retries."""

    experiment_name: str = setting("", "Name of the experiment; filled from the top level.")
    trial_name: str = setting("", "Name of the trial; filled from the top level.")
    fileroot: str = setting("", "Root of logs and dumps; filled from cluster.fileroot.")
    max_concurrent_rollouts: int | None = setting(
        None, "Most episodes in flight; None means consumer_batch_size.", unit="prompts", ge=1
    )
    queue_size: int | None = setting(
        None, "Most episodes waiting; None means 16 times max_concurrent_rollouts.", unit="prompts", ge=1
    )
    consumer_batch_size: int | None = setting(
        None, "Prompts consumed by a training step; filled from train_dataset.batch_size.", unit="prompts", ge=1
    )
    max_head_offpolicyness: int = setting(0, "Largest staleness of a trained token.", unit="versions", ge=0)
    deterministic_sampling: bool = setting(False, "Same samples in the same order on every run; needs staleness 0.")
    check_trajectory_format: bool = setting(False, "Check every trajectory that a workflow returns.")
    dump_to_file: bool = setting(False, "Write every trajectory as JSON lines below the log folder.")
    setup_timeout: float = setting(300.0, "Deadline for all servers to be healthy.", unit="s", gt=0)
    request_timeout: float = setting(3600.0, "Deadline of one request.", unit="s", gt=0)
    request_retries: int = setting(3, "Attempts of one request before its episode fails.", ge=1)
    max_repeated_failures: int = setting(8, "Episodes failing in a row with the same error that stop the run.", ge=1)
    drop_truncated: bool = setting(False, "Reject samples cut by the length limit instead of training on them.")
    backend: str = setting("native:d1", "Server and layout such as native:d2; d is the number of servers.")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class NativeConfig:
    """The embedded inference server (`rollout.backend=native:dN`); N identical servers are started."""

    model_path: str = setting("", "Folder of the HF checkpoint; filled from actor.path.")
    dtype: str | None = setting(
        None,
        "Precision of weights and KV cache; filled from actor.dtype.",
        choices=(None, "float32", "bfloat16", "float16"),
    )
    max_num_seqs: int = setting(128, "Most sequences decoded at a time by one server.", unit="sequences", ge=1)
    max_model_len: int = setting(4096, "Longest prompt plus answer.", unit="tokens", ge=1)
    seed: int = setting(1, "Seed of the sampler of requests that carry none.", ge=0)
    num_threads: int = setting(1, "CPU threads of one server.", unit="threads", ge=1)
    device: str = setting(
        "auto", "Where a server runs; auto takes a GPU if there is one.", choices=("auto", "cpu", "cuda")
    )

    def __post_init__(self) -> None:
        self.dtype = None if self.dtype is None else DTYPE_ALIASES.get(self.dtype, self.dtype)
        check_fields(self)
