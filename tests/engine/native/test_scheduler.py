# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Joins, leaves, pauses and weight swaps, one step at a time, over both runners."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from areal.engine.native.messages import FinishReason, GenerateRequest, Generation, PauseMode
from areal.engine.native.scheduler import Scheduler
from areal.utils.checksum import weights_checksum
from areal.utils.errors import CheckpointError, InfraError
from tests.engine.native.helpers import (
    HF_FAMILIES,
    add,
    finish,
    hf_logits,
    hf_logprobs,
    prompts,
    tiny_scheduler,
)
from tests.experimental.models.archon.tiny_models import save_tiny

BOTH = pytest.mark.parametrize("model_type", ["qwen2", "gpt2"])
SAMPLING = {"max_new_tokens": 14, "ignore_eos": True, "temperature": 0.9}


def load(scheduler: Scheduler, directory: Path, version: int) -> str:
    runner = scheduler._runner
    weights = runner.read_weights(directory)
    scheduler.apply_weights(weights, version)
    return weights.checksum


def spans(generation: Generation) -> list[tuple[int, int, int]]:
    return [(s.version, s.start, s.end) for s in generation.version_spans]


@BOTH
def test_results_do_not_depend_on_what_else_is_in_the_batch(model_type: str, tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path, model_type, max_num_seqs=8)
    asked = prompts(3, 17, 8, 8, 25, 40)

    crowd = finish(scheduler, *(add(scheduler, p, seed=i, **SAMPLING) for i, p in enumerate(asked)))
    for i, (prompt, got) in enumerate(zip(asked, crowd, strict=True)):
        (alone,) = finish(scheduler, add(scheduler, prompt, seed=i, **SAMPLING))
        assert alone.output_ids == got.output_ids
        assert alone.output_logprobs == pytest.approx(got.output_logprobs, abs=1e-5)


@BOTH
def test_a_continuation_with_rng_offset_draws_the_same_tokens(model_type: str, tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path, model_type)
    prompt = prompts(6)[0]
    (whole,) = finish(scheduler, add(scheduler, prompt, seed=11, **SAMPLING))

    part = add(scheduler, prompt, seed=11, **SAMPLING)
    for _ in range(5):
        scheduler.step()
    scheduler.pause(PauseMode.ABORT)
    head = part.result(timeout=0)
    scheduler.resume()
    done = len(head.output_ids)
    (tail,) = finish(
        scheduler,
        add(
            scheduler,
            (*prompt, *head.output_ids),
            seed=11,
            rng_offset=done,
            **{**SAMPLING, "max_new_tokens": 14 - done},
        ),
    )

    assert head.finish_reason is FinishReason.ABORT
    assert 0 < done < 14
    assert head.output_ids + tail.output_ids == whole.output_ids
    assert head.output_logprobs + tail.output_logprobs == pytest.approx(whole.output_logprobs, abs=1e-5)


def test_different_seeds_differ_and_requests_without_a_seed_differ(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path)
    prompt = prompts(6)[0]

    seeded = finish(scheduler, *(add(scheduler, prompt, seed=s, **SAMPLING) for s in (1, 1, 2)))
    unseeded = finish(scheduler, *(add(scheduler, prompt, **SAMPLING) for _ in range(3)))

    assert seeded[0].output_ids == seeded[1].output_ids != seeded[2].output_ids
    assert len({tuple(g.output_ids) for g in unseeded}) == 3


@BOTH
def test_a_weight_swap_recomputes_live_sequences_under_the_new_weights(model_type: str, tmp_path: Path) -> None:
    scheduler, old = tiny_scheduler(tmp_path / "v0", model_type, max_num_seqs=5)
    new = save_tiny(tmp_path / "v1", model_type, seed=1, **HF_FAMILIES.get(model_type, {}))
    newest = save_tiny(tmp_path / "v2", model_type, seed=2, **HF_FAMILIES.get(model_type, {}))
    models = {0: old, 1: new, 2: newest}
    group, single, late = prompts(9, 20, 5)
    futures = [add(scheduler, p, seed=i, **SAMPLING) for i, p in enumerate((group, single, group))]
    scheduler.step()
    futures.append(add(scheduler, group, seed=7, **SAMPLING))
    for _ in range(2):
        scheduler.step()

    scheduler.pause(PauseMode.KEEP)
    load(scheduler, tmp_path / "v1", 1)
    waiting = add(scheduler, late, seed=9, **SAMPLING)
    assert not scheduler.has_work
    scheduler.resume()
    for _ in range(4):
        scheduler.step()
    load(scheduler, tmp_path / "v2", 2)
    results = finish(scheduler, *futures, waiting)

    assert spans(results[0]) == [(0, 0, 4), (1, 4, 8), (2, 8, 14)]
    assert spans(results[3]) == [(0, 0, 3), (1, 3, 7), (2, 7, 14)]
    assert [s[0] for s in spans(results[4])] == [1, 2]
    for prompt, got in zip((group, single, group, group, late), results, strict=True):
        for span in got.version_spans:
            expected = hf_logprobs_at(models[span.version], prompt, got.output_ids)[span.start : span.end]
            torch.testing.assert_close(
                torch.tensor(got.output_logprobs[span.start : span.end]), expected, atol=1e-4, rtol=1e-4
            )


def hf_logprobs_at(model: torch.nn.Module, prompt: tuple[int, ...], output: list[int]) -> torch.Tensor:
    """As `hf_logprobs`, at the temperature of SAMPLING."""
    rows = (hf_logits(model, prompt, output) / SAMPLING["temperature"]).log_softmax(-1)
    return rows.gather(1, torch.tensor(output)[:, None])[:, 0]


def test_two_loads_before_the_next_step_leave_no_empty_span(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path / "v0")
    save_tiny(tmp_path / "v1", "qwen2", seed=1)
    future = add(scheduler, prompts(4)[0], seed=0, **SAMPLING)
    scheduler.step()

    load(scheduler, tmp_path / "v1", 1)
    load(scheduler, tmp_path / "v0", 2)
    (got,) = finish(scheduler, future)

    assert spans(got) == [(0, 0, 2), (2, 2, 14)]


def test_abort_mode_returns_partial_outputs_and_empties_the_queue(tmp_path: Path) -> None:
    scheduler, model = tiny_scheduler(tmp_path, max_num_seqs=2)
    asked = prompts(5, 6, 7)
    futures = [add(scheduler, p, seed=i, max_new_tokens=14, ignore_eos=True) for i, p in enumerate(asked)]
    for _ in range(3):
        scheduler.step()

    scheduler.pause(PauseMode.ABORT)
    first, second, queued = [f.result(timeout=0) for f in futures]
    held = add(scheduler, asked[2], seed=2, **SAMPLING)

    assert [g.finish_reason for g in (first, second, queued)] == [FinishReason.ABORT] * 3
    assert (queued.output_ids, queued.version_spans) == ([], [])
    for prompt, got in zip(asked, (first, second)):
        assert len(got.output_ids) == len(got.output_logprobs) == got.version_spans[-1].end == 4
        torch.testing.assert_close(
            torch.tensor(got.output_logprobs), hf_logprobs(model, prompt, got.output_ids), atol=1e-4, rtol=1e-4
        )
    assert not held.done() and scheduler.num_live == 0
    scheduler.resume()
    assert finish(scheduler, held)[0].finish_reason is FinishReason.LENGTH


def test_abort_by_id_and_by_client_free_only_their_slots(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path)
    asked = prompts(5, 6, 7, 8)
    futures = [add(scheduler, p, name=f"r{i}", seed=i, **SAMPLING) for i, p in enumerate(asked)]
    scheduler.step()

    assert scheduler.abort_ids(["r1", "unknown"]) == 1
    assert scheduler.cancel(futures[2]) == 1
    results = finish(scheduler, *futures)

    assert [g.finish_reason.value for g in results] == ["length", "abort", "abort", "length"]
    (alone,) = finish(scheduler, add(scheduler, asked[3], seed=3, **SAMPLING))
    assert alone.output_ids == results[3].output_ids
    assert scheduler.abort_ids([]) == 0


def test_a_cancelled_future_is_never_started(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path)
    future: Future[Generation] = Future()
    future.cancel()

    scheduler.add(GenerateRequest(request_id="x", input_ids=(3,)), future)

    assert not scheduler.has_work


@BOTH
def test_a_group_computes_its_prompt_once_also_when_samples_come_later(model_type: str, tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path, model_type, max_num_seqs=3)
    prompt = prompts(20)[0]

    futures = [add(scheduler, prompt, seed=i, **SAMPLING) for i in range(5)]
    scheduler.step()
    futures += [add(scheduler, prompt, seed=i, **SAMPLING) for i in range(5, 8)]
    results = finish(scheduler, *futures)

    assert scheduler.counters.prefill_computed_tokens_total == 20
    assert scheduler.counters.prefill_cached_tokens_total == 140
    assert scheduler.counters.prompt_tokens_total == 160
    assert len({tuple(g.output_ids) for g in results}) == 8


def test_cached_prompts_are_dropped_when_the_weights_change(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path / "v0")
    new = save_tiny(tmp_path / "v1", "qwen2", seed=1)
    prompt = prompts(20)[0]
    finish(scheduler, add(scheduler, prompt, seed=0, **SAMPLING))

    load(scheduler, tmp_path / "v1", 1)
    (got,) = finish(scheduler, add(scheduler, prompt, seed=0, max_new_tokens=5, ignore_eos=True))

    torch.testing.assert_close(
        torch.tensor(got.output_logprobs), hf_logprobs(new, prompt, got.output_ids), atol=1e-4, rtol=1e-4
    )


@BOTH
def test_checksum_after_a_load_equals_the_writers(model_type: str, tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path / "v0", model_type)
    new = save_tiny(tmp_path / "v1", model_type, seed=1, **HF_FAMILIES.get(model_type, {}))
    names = {name for name, _ in new.named_parameters()}

    got = load(scheduler, tmp_path / "v1", 1)

    exported = {name: tensor for name, tensor in new.state_dict().items() if name in names}
    assert got == weights_checksum(exported.items()) == scheduler._runner.checksum


@BOTH
@pytest.mark.parametrize("fault", ["missing", "shape", "dtype", "truncated", "unknown", "empty", "no directory"])
def test_a_bad_checkpoint_is_refused_and_the_model_stays(model_type: str, fault: str, tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path / "v0", model_type)
    prompt, bad = prompts(6)[0], tmp_path / "bad"
    (before,) = finish(scheduler, add(scheduler, prompt, seed=5, **SAMPLING))
    bad.mkdir()
    state = load_file(tmp_path / "v0" / "model.safetensors")
    name = sorted(n for n, t in state.items() if t.ndim == 2)[-1]
    if fault == "missing":
        del state[name]
    elif fault == "shape":
        state[name] = state[name][:-1].contiguous()
    elif fault == "dtype":
        state[name] = state[name].to(torch.int32)
    elif fault == "unknown":
        state["model.layers.7.self_attn.q_proj.weight"] = torch.zeros(2)
    if fault != "empty":
        save_file(state, bad / "model.safetensors", metadata={"format": "pt"})
    if fault == "truncated":
        data = (bad / "model.safetensors").read_bytes()
        (bad / "model.safetensors").write_bytes(data[:-64])

    with pytest.raises(CheckpointError, match="expected"):
        load(scheduler, bad if fault != "no directory" else tmp_path / "nowhere", 1)
    (after,) = finish(scheduler, add(scheduler, prompt, seed=5, **SAMPLING))

    assert (after.output_ids, after.output_logprobs) == (before.output_ids, before.output_logprobs)
    assert scheduler.version == 0


def test_bfloat16_checkpoints_load_into_an_fp32_engine_with_their_own_checksum(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path / "v0")
    new = save_tiny(tmp_path / "v1", "qwen2", seed=1).bfloat16()
    new.save_pretrained(tmp_path / "v2")

    assert load(scheduler, tmp_path / "v2", 2) == weights_checksum(new.named_parameters())


def test_sharded_checkpoints_with_an_index_load(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path / "v0")
    new = save_tiny(tmp_path / "v1", "qwen2", seed=1)
    new.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1

    assert load(scheduler, tmp_path / "sharded", 1) == weights_checksum(new.named_parameters())


def test_non_finite_weights_fail_the_request_and_good_ones_heal_the_engine(tmp_path: Path) -> None:
    scheduler, model = tiny_scheduler(tmp_path / "v0")
    prompt = prompts(6)[0]
    (before,) = finish(scheduler, add(scheduler, prompt, seed=5, **SAMPLING))
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
        model.model.layers[0].input_layernorm.weight.fill_(torch.nan)
    model.save_pretrained(tmp_path / "bad")

    load(scheduler, tmp_path / "bad", 1)
    broken = add(scheduler, prompt, seed=5, **SAMPLING)
    with pytest.raises(InfraError, match="finite"):
        finish(scheduler, broken)
    load(scheduler, tmp_path / "v0", 2)
    (after,) = finish(scheduler, add(scheduler, prompt, seed=5, **SAMPLING))

    assert after.output_ids == before.output_ids
    assert after.output_logprobs == pytest.approx(before.output_logprobs, abs=1e-6)


def test_slots_are_never_more_than_asked_for(tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path, "qwen3", max_num_seqs=2)
    futures = [add(scheduler, p, seed=i, **SAMPLING) for i, p in enumerate(prompts(3, 4, 5, 6, 7))]

    seen = set()
    while scheduler.has_work:
        scheduler.step()
        seen.add(scheduler.num_live)

    assert max(seen) == 2
    assert all(f.done() for f in futures)


@BOTH
def test_a_directory_of_weights_alone_is_enough_for_a_load(model_type: str, tmp_path: Path) -> None:
    scheduler, _ = tiny_scheduler(tmp_path / "v0", model_type)
    save_tiny(tmp_path / "v1", model_type, seed=1, **HF_FAMILIES.get(model_type, {}))
    for path in (tmp_path / "v1").glob("*.json"):
        path.unlink()

    assert load(scheduler, tmp_path / "v1", 1) == scheduler._runner.checksum
