# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Translation between requests and the protocol of `native` servers."""

from __future__ import annotations

from typing import Any

import pytest

from areal.api.cli_args import GenerationHyperparameters
from areal.api.io_struct import ModelRequest, WeightUpdateMeta
from areal.engine.native.request_parser import parse_generate, parse_load_weights, parse_pause
from areal.engine.native_remote import NativeBackend
from areal.utils.errors import InfraError


def answer(**changes: Any) -> dict[str, Any]:
    spans = [{"version": 4, "start": 0, "end": 2}, {"version": 5, "start": 2, "end": 3}]
    base = {"request_id": "r", "output_ids": [7, 8, 9], "output_logprobs": [-0.1, -0.2, 0.0]}
    return {**base, "version_spans": spans, "finish_reason": "stop", **changes}


@pytest.mark.parametrize(
    ("min_new", "budget", "offset", "expected"), [(0, 8, 0, 0), (5, 8, 0, 5), (5, 6, 2, 3), (5, 2, 6, 0), (9, 4, 2, 4)]
)
def test_generation_request_keeps_the_minimum_length_across_segments(
    min_new: int, budget: int, offset: int, expected: int
) -> None:
    gconfig = GenerationHyperparameters(max_new_tokens=10, min_new_tokens=min_new, seed=3, stop_token_ids=[1])
    request = NativeBackend().build_generation_request(ModelRequest(input_ids=[5], gconfig=gconfig), budget, offset)
    parsed = parse_generate(request.payload, vocab_size=10)
    assert parsed.sampling.min_new_tokens == expected and parsed.sampling.max_new_tokens == budget
    assert (parsed.sampling.rng_offset, parsed.sampling.seed, list(parsed.input_ids)) == (offset, 3, [5])
    assert request.idempotent


def test_generation_request_without_seed_may_not_be_repeated() -> None:
    request = ModelRequest(input_ids=[5], gconfig=GenerationHyperparameters())
    assert not NativeBackend().build_generation_request(request, 1, 0).idempotent


def test_generation_response_spreads_the_spans() -> None:
    result = NativeBackend().parse_generation_response(answer())
    assert result.output_versions == [4, 4, 5] and result.output_tokens == [7, 8, 9] and result.stop_reason == "stop"


@pytest.mark.parametrize(
    "changes",
    [
        {"output_logprobs": [-0.1]},
        {"output_logprobs": [-0.1, float("nan"), 0.0]},
        {"finish_reason": "tired"},
        {"version_spans": [{"version": 4, "start": 0, "end": 2}]},
        {"version_spans": [{"version": 4, "start": 1, "end": 3}]},
        {"version_spans": None},
        {"output_ids": None},
    ],
)
def test_generation_response_malformed_is_an_infra_error(changes: dict[str, Any]) -> None:
    with pytest.raises(InfraError, match="malformed"):
        NativeBackend().parse_generation_response(answer(**changes))


def test_control_requests_are_what_the_server_parses() -> None:
    backend = NativeBackend()
    (load,) = backend.build_load_weights_requests(WeightUpdateMeta(path="w/v3", version=3))
    assert parse_load_weights(load.payload) == ("w/v3", 3) and load.idempotent
    assert parse_pause(backend.pause_request("keep").payload).value == "keep"
    assert backend.parse_checksum({"version": 3, "checksum": "ab"}) == "ab"
    assert backend.health_request().method == "GET"
