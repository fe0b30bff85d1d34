# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Worker groups: the processes of one role (actor, critic, ref) behind one small protocol.

class ActorWorker:                       # in my_package/actor.py; lives in the worker, on its main thread
    def __init__(self, lr: float) -> None:
        dist.init_process_group("gloo")  # RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are set
    def train(self, batch: dict[str, Tensor]) -> float: ...

with ProcessWorkers("my_package.actor:ActorWorker", 2, (1e-4,), name="actor") as actor:
    losses = actor.call_each("train", [(shard_0,), (shard_1,)])   # one tuple of arguments a rank
    saved = actor.call_all_async("save", "checkpoint")            # a Future; the controller goes on
"""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "InProcessWorker": "areal.infra.workers.in_process",
        "ProcessWorkers": "areal.infra.workers.process_workers",
        "WorkerGroup": "areal.infra.workers.protocol",
        "WorkerHealth": "areal.infra.workers.protocol",
    },
)
