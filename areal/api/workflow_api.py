# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a rollout workflow is: one episode on one dataset item, yielding the tensors of a trajectory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from areal.api.engine_api import InferenceEngine


class RolloutWorkflow(ABC):
    """One way to turn a dataset item into a trajectory, without ever blocking the event loop."""

    @abstractmethod
    async def arun_episode(self, engine: InferenceEngine, data: dict[str, Any]) -> dict[str, Tensor] | None:
        """Run one episode on `data` and return its trajectory, or None to reject it.

        Shapes with b samples of padded length L (right padding): `input_ids [b, L]` int32, `attention_mask [b, L]` bool,
        `loss_mask [b, L]` int32, `logprobs [b, L]` float32 (behaviour policy, token aligned), `versions [b, L]` int32 (-1 where
        not generated), `rewards [b]` float32, `truncated [b]` bool. Raises `UserCodeError` for failing user code and
        `InfraError` when a server or a pool failed.
        """


WorkflowLike = RolloutWorkflow | type[RolloutWorkflow] | str
"""A workflow instance, a workflow class (built from `workflow_kwargs`), or the dotted path of either."""
