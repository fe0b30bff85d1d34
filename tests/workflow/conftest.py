# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A small tokenizer with a chat template, and an engine that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from areal.api.io_struct import ModelRequest, ModelResponse
from areal.api.reward_api import close_reward_pools
from areal.dataset.small_tokenizer import build_arithmetic_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return build_arithmetic_tokenizer(tmp_path_factory.mktemp("tokenizer"))


class Loop:
    """One event loop for all episodes of the tests, so that they share the processes of the rewards."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine returns."""
        return self._runner.run(coroutine)


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    with asyncio.Runner() as runner:
        yield Loop(runner)
        runner.run(close_reward_pools())


class ScriptedEngine:
    """Answers the k-th request with the k-th text and eos; from the second answer on, the last token is a version newer.

    A text without its eos (cut by the length limit) is written with a trailing `...`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, answers: Sequence[str], version: int = 3) -> None:
        self.tokenizer, self.answers, self.version = tokenizer, list(answers), version
        self.requests: list[ModelRequest] = []

    async def agenerate(self, req: ModelRequest) -> ModelResponse:
        self.requests.append(req)
        if len(self.requests) > len(self.answers):
            pytest.fail(f"request {len(self.requests)} of an engine that was given {len(self.answers)} answers")
        text = self.answers[len(self.requests) - 1]
        tokens = self.tokenizer(text.removesuffix("..."), add_special_tokens=False)["input_ids"]
        if not text.endswith("..."):
            tokens = [*tokens, self.tokenizer.eos_token_id]
        versions = [self.version] * len(tokens)
        if len(self.requests) > 1:  # the weights were updated while this answer was generated
            self.version += 1
            versions[-1] = self.version
        return ModelResponse(
            input_tokens=list(req.input_ids),
            output_tokens=tokens,
            output_logprobs=[-0.25 * (index + 1) for index in range(len(tokens))],
            output_versions=versions,
            stop_reason="length" if text.endswith("...") else "stop",
        )
