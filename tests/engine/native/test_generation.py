# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whole generations against HF `generate` and full HF forwards, for every runner and family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from areal.engine.native.messages import FinishReason
from areal.engine.native.model_loading import build_runner
from areal.engine.native.scheduler import EngineOptions, Scheduler
from areal.utils.errors import ConfigError
from tests.engine.native.helpers import (
    HF_FAMILIES,
    add,
    finish,
    hf_logits,
    hf_logprobs,
    prompts,
    scheduler_for,
    tiny_scheduler,
)
from tests.experimental.models.archon.tiny_models import LLAMA3_ROPE, save_tiny

FAMILIES = ["llama", "qwen2", "qwen3", "gpt2", "gemma2"]
EOS = 1


@pytest.mark.parametrize("model_type", FAMILIES)
def test_greedy_output_and_logprobs_of_mixed_lengths_equal_hf(model_type: str, tmp_path: Path) -> None:
    scheduler, model = tiny_scheduler(tmp_path, model_type, max_num_seqs=4)
    asked = prompts(5, 12, 1, 30, 12, 7)

    futures = [add(scheduler, p, greedy=True, max_new_tokens=10 + i) for i, p in enumerate(asked)]
    results = finish(scheduler, *futures)

    for i, (prompt, got) in enumerate(zip(asked, results, strict=True)):
        ids = torch.tensor([prompt])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=10 + i, do_sample=False, pad_token_id=0
        )
        assert got.output_ids == expected[0, len(prompt) :].tolist()
        torch.testing.assert_close(
            torch.tensor(got.output_logprobs), hf_logprobs(model, prompt, got.output_ids), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("model_type", FAMILIES)
def test_sampled_logprobs_equal_a_full_hf_forward_after_joins_and_leaves(model_type: str, tmp_path: Path) -> None:
    scheduler, model = tiny_scheduler(tmp_path, model_type, max_num_seqs=3)
    asked = prompts(4, 9, 4, 15, 2, 11, 6)

    futures = []
    for i, prompt in enumerate(asked):
        futures.append(add(scheduler, prompt, seed=i, max_new_tokens=3 + 5 * (i % 3), ignore_eos=True))
        scheduler.step()
    results = finish(scheduler, *futures)

    for i, (prompt, got) in enumerate(zip(asked, results, strict=True)):
        assert len(got.output_ids) == 3 + 5 * (i % 3)
        torch.testing.assert_close(
            torch.tensor(got.output_logprobs), hf_logprobs(model, prompt, got.output_ids), atol=1e-4, rtol=1e-4
        )


def test_long_generation_grows_the_cache_and_stays_equal_to_hf(tmp_path: Path) -> None:
    model = save_tiny(tmp_path, "llama", rope_parameters=LLAMA3_ROPE)
    scheduler = scheduler_for(tmp_path)
    prompt, other = prompts(60, 3)

    future, _ = add(scheduler, prompt, seed=1, max_new_tokens=130, ignore_eos=True), add(scheduler, other, seed=2)
    (got,) = finish(scheduler, future)

    torch.testing.assert_close(
        torch.tensor(got.output_logprobs), hf_logprobs(model, prompt, got.output_ids), atol=2e-4, rtol=1e-4
    )


def test_logprobs_are_of_the_distribution_drawn_from(tmp_path: Path) -> None:
    scheduler, model = tiny_scheduler(tmp_path)
    prompt = prompts(6)[0]

    future = add(scheduler, prompt, temperature=0.7, top_k=9, top_p=0.8, seed=4, max_new_tokens=12, ignore_eos=True)
    (got,) = finish(scheduler, future)

    for row, token, logprob in zip(hf_logits(model, prompt, got.output_ids), got.output_ids, got.output_logprobs):
        best = (row / 0.7).topk(9)
        probs = best.values.softmax(0)
        kept = int(((probs.cumsum(0) - probs) < 0.8).sum())
        place = best.indices[:kept].tolist().index(token)
        assert abs((probs[place] / probs[:kept].sum()).log().item() - logprob) < 1e-4


def test_a_greedy_row_beside_sampled_ones_reports_the_plain_softmax(tmp_path: Path) -> None:
    scheduler, model = tiny_scheduler(tmp_path)
    prompt, other = prompts(6, 8)

    add(scheduler, other, temperature=0.5, top_p=0.5, seed=1, max_new_tokens=20)
    zero = add(scheduler, prompt, temperature=0.0, top_k=3, max_new_tokens=8, ignore_eos=True)
    (got,) = finish(scheduler, zero)

    assert got.output_ids == hf_logits(model, prompt, got.output_ids).argmax(-1).tolist()
    torch.testing.assert_close(
        torch.tensor(got.output_logprobs), hf_logprobs(model, prompt, got.output_ids), atol=1e-4, rtol=1e-4
    )


def test_stop_ids_end_the_output_and_are_part_of_it(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path)
    prompt = prompts(6)[0]
    (free,) = finish(scheduler, add(scheduler, prompt, seed=3, max_new_tokens=20, ignore_eos=True))
    stop = free.output_ids[7]
    first = free.output_ids.index(stop)

    (got,) = finish(
        scheduler, add(scheduler, prompt, seed=3, max_new_tokens=20, ignore_eos=True, stop_token_ids=(stop, 10**6))
    )

    assert got.output_ids == free.output_ids[: first + 1]
    assert got.finish_reason is FinishReason.STOP
    assert free.finish_reason is FinishReason.LENGTH


def test_min_new_tokens_holds_stop_ids_back_and_renormalises(tmp_path: Path) -> None:
    scheduler, model = tiny_scheduler(tmp_path)
    prompt = prompts(6)[0]
    stops = tuple(range(2, 40))

    (got,) = finish(
        scheduler, add(scheduler, prompt, seed=3, max_new_tokens=20, min_new_tokens=6, stop_token_ids=stops)
    )

    assert not set(got.output_ids[:6]) & {*stops, EOS}
    row = hf_logits(model, prompt, got.output_ids)[0]
    row[[*stops, EOS]] = -torch.inf
    assert abs(row.log_softmax(-1)[got.output_ids[0]].item() - got.output_logprobs[0]) < 1e-4


def test_the_models_own_end_id_stops_unless_ignored(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path)
    prompt = prompts(6)[0]
    seeds = range(40)

    stopped = finish(scheduler, *(add(scheduler, prompt, seed=s, max_new_tokens=30) for s in seeds))
    ignored = finish(scheduler, *(add(scheduler, prompt, seed=s, max_new_tokens=30, ignore_eos=True) for s in seeds))

    assert any(g.finish_reason is FinishReason.STOP for g in stopped)
    for a, b in zip(stopped, ignored, strict=True):
        assert len(b.output_ids) == 30
        assert a.output_ids == b.output_ids[: b.output_ids.index(EOS) + 1 if EOS in b.output_ids else 30]


def test_output_is_cut_at_max_model_len(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path, max_model_len=16)

    (got,) = finish(scheduler, add(scheduler, prompts(10)[0], seed=0, ignore_eos=True, max_new_tokens=50))

    assert len(got.output_ids) == 6
    assert got.finish_reason is FinishReason.LENGTH


def test_bfloat16_stays_close_to_the_fp32_forward(tmp_path: Path) -> None:
    model = save_tiny(tmp_path, "qwen3")
    scheduler = Scheduler(build_runner(tmp_path, "bfloat16", "cpu"), EngineOptions(max_model_len=100))
    asked = prompts(5, 9)

    for prompt, got in zip(asked, finish(scheduler, *(add(scheduler, p, seed=1, max_new_tokens=8) for p in asked))):
        assert (torch.tensor(got.output_logprobs) - hf_logprobs(model, prompt, got.output_ids)).abs().max() < 0.5


def test_an_unsupported_config_is_served_by_hf_and_says_why(tmp_path: Path) -> None:
    save_tiny(tmp_path, "gpt2", **HF_FAMILIES["gpt2"])

    runner = build_runner(tmp_path, device="cpu")

    assert runner.info.runner == "hf"
    assert "model_type" in (runner.info.fallback or "")


@pytest.mark.parametrize("what", ["path", "dtype"])
def test_a_wrong_path_or_dtype_is_a_config_error(what: str, tmp_path: Path) -> None:
    save_tiny(tmp_path / "model", "qwen2")

    with pytest.raises(ConfigError, match=r"config\.json|float64"):
        if what == "path":
            build_runner(tmp_path / "nowhere")
        else:
            build_runner(tmp_path / "model", dtype="float64")
