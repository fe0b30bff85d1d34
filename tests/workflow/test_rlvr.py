# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The single-turn workflow with a toy tokenizer and rewards in their own process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch

from areal.api.cli_args import GenerationHyperparameters
from areal.api.io_struct import ModelRequest, ModelResponse
from areal.utils import stats_tracker, workflow_context
from areal.utils.data import check_trajectory_format
from areal.utils.errors import UserCodeError
from areal.utils.workflow_context import WorkflowContext
from areal.workflow.rlvr import RLVRWorkflow, build_trajectory


class LetterTokenizer:
    """One id per character; chat messages are joined."""

    pad_token_id, eos_token_id = 0, 1

    def apply_chat_template(self, messages: list[dict[str, str]], **kwargs: Any) -> list[int]:
        assert kwargs["add_generation_prompt"] and kwargs["tokenize"]
        return [ord(letter) for message in messages for letter in message["content"]]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(token) for token in ids)


class OneAnswer:
    def __init__(self, answer: str, stop_reason: str = "stop") -> None:
        self.answer, self.stop_reason = answer, stop_reason
        self.requests: list[ModelRequest] = []

    async def agenerate(self, req: ModelRequest) -> ModelResponse:
        self.requests.append(req)
        tokens = [ord(letter) for letter in self.answer]
        return ModelResponse(
            input_tokens=req.input_ids,
            output_tokens=tokens,
            output_logprobs=[-0.5 * index for index in range(len(tokens))],
            output_versions=[2] * (len(tokens) - 1) + [3],
            stop_reason=self.stop_reason,  # type: ignore[arg-type]
        )


def exact(
    prompt: str, completions: str, prompt_ids: list[int], completion_ids: list[int], answer: str, **_: Any
) -> float:
    assert [ord(letter) for letter in prompt] == list(prompt_ids)
    return float(completions == answer)


def explode(*args: Any, **kwargs: Any) -> float:
    raise LookupError("no such column")


DATA = {"messages": [{"role": "user", "content": "ab"}], "answer": "xyz"}


def episode(engine: OneAnswer, **settings: Any) -> tuple[dict[str, torch.Tensor] | None, WorkflowContext]:
    gconfig = GenerationHyperparameters(n_samples=4, max_new_tokens=8)
    workflow = RLVRWorkflow(**{"reward_fn": exact, "gconfig": gconfig, "tokenizer": LetterTokenizer(), **settings})
    context = WorkflowContext(task_id=1)

    async def run() -> Any:
        workflow_context.set(context)
        return await workflow.arun_episode(engine, DATA)  # type: ignore[arg-type]

    return asyncio.run(run()), context


def test_episode_trajectory_holds_the_engines_tokens_token_aligned() -> None:
    stats_tracker.get("rollout").export()
    engine = OneAnswer("xyz")
    trajectory, _ = episode(engine)
    assert trajectory is not None and check_trajectory_format(trajectory)
    assert trajectory.pop("token_crc").shape == (1,)
    expected = {
        "input_ids": ([[97, 98, 120, 121, 122]], torch.int32),
        "attention_mask": ([[True] * 5], torch.bool),
        "loss_mask": ([[0, 0, 1, 1, 1]], torch.int32),
        "logprobs": ([[0.0, 0.0, 0.0, -0.5, -1.0]], torch.float32),
        "versions": ([[-1, -1, 2, 2, 3]], torch.int32),
        "turn_ids": ([[-1, -1, 0, 0, 0]], torch.int32),
        "rewards": ([1.0], torch.float32),
        "truncated": ([False], torch.bool),
    }
    assert {key: (value.tolist(), value.dtype) for key, value in trajectory.items()} == expected
    assert engine.requests[0].gconfig.n_samples == 1 and engine.requests[0].gconfig.stop_token_ids == [0, 1]
    assert stats_tracker.get("rollout").export()["rollout/reward"] == 1.0


def test_episode_dotted_paths_are_imported() -> None:
    trajectory, _ = episode(OneAnswer("no"), reward_fn="tests.workflow.test_rlvr.exact")
    assert trajectory is not None and trajectory["rewards"].tolist() == [0.0]


def test_episode_truncated_answer_is_marked() -> None:
    trajectory, _ = episode(OneAnswer("xyz", "length"))
    assert trajectory is not None and trajectory["truncated"].tolist() == [True]


def test_episode_failing_reward_raises_and_is_no_zero() -> None:
    with pytest.raises(UserCodeError, match="no such column"):
        episode(OneAnswer("xyz"), reward_fn=explode)


def test_build_trajectory_tensors_own_their_memory() -> None:
    response = ModelResponse(input_tokens=[1], output_tokens=[2], output_logprobs=[-1.0], output_versions=[0])
    tensors = list(build_trajectory(response, 0.0).values())
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in tensors)
