# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""All state of the native engine: which sequences wait, which step together, under which weights. Single-threaded.

`NativeEngine` owns one and calls it from one thread; tests call it directly. A sequence goes

    waiting --slot free--> live --stop id / length--> done
       \\--abort-------------\\--abort--> done (with what it has)

and the scheduler is RUNNING or PAUSED (`_State`): paused, no step does work, live sequences stay where they are and new
ones wait. Loading weights is allowed in both; the next step first recomputes the context of live sequences.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum

import torch

from areal.api.io_struct import Version
from areal.engine.native.live_rows import LiveRows, LiveSequence
from areal.engine.native.messages import FinishReason, GenerateRequest, Generation, PauseMode
from areal.engine.native.metrics import Counters
from areal.engine.native.prefix_cache import PrefixCache
from areal.engine.native.runner import Prefix, PreparedWeights, Runner
from areal.engine.native.sampling import RowSampler, seed_key, server_key
from areal.utils.errors import InfraError

PREFIX_CACHE_BYTES = 256 * 2**20
"""Prompts kept for their group; 256 MiB hold 20k tokens of a 0.5B model in bf16."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Limits of an engine: rows that step together, tokens of a sequence (prompt and output), requests it takes on.

    `seed` feeds the requests that come without one; `version` labels the weights the runner starts with.
    """

    max_num_seqs: int = 128
    max_model_len: int = 4096
    max_waiting: int = 8192
    seed: int = 1
    version: int = 0


class _State(Enum):
    RUNNING = "running"
    PAUSED = "paused"


class Scheduler:
    """Continuous batching: sequences join when a slot is free and leave in the step that ends them."""

    def __init__(self, runner: Runner, options: EngineOptions) -> None:
        self.counters = Counters()
        self.version = Version(options.version)
        self._runner = runner
        self._options = options
        self._state = _State.RUNNING
        self._waiting: deque[LiveSequence] = deque()
        self._live = LiveRows()
        self._sampler = RowSampler(options.max_num_seqs, runner.device)
        self._last_tokens_R = torch.zeros(0, dtype=torch.long, device=runner.device)
        self._prefixes = PrefixCache(PREFIX_CACHE_BYTES)
        self._context_is_stale = False
        self._num_unseeded = 0

    @property
    def num_live(self) -> int:
        """Sequences that hold a slot."""
        return len(self._live)

    @property
    def num_waiting(self) -> int:
        """Sequences without a slot."""
        return len(self._waiting)

    @property
    def is_paused(self) -> bool:
        """Whether `step` does nothing until `resume`."""
        return self._state is _State.PAUSED

    @property
    def has_work(self) -> bool:
        """Whether `step` would do something."""
        return not self.is_paused and bool(self._live or self._waiting)

    def add(self, request: GenerateRequest, future: Future[Generation]) -> None:
        """Queue a request, unless its future was cancelled meanwhile."""
        if not future.set_running_or_notify_cancel():
            return
        sampling, vocab_size = request.sampling, self._runner.info.vocab_size
        stops = {i for i in sampling.stop_token_ids if i < vocab_size}
        if not sampling.ignore_eos:
            stops.update(self._runner.info.eos_token_ids)
        if sampling.seed is None:
            key = server_key(self._options.seed, self._num_unseeded)
            self._num_unseeded += 1
        else:
            key = seed_key(sampling.seed)
        room = self._options.max_model_len - len(request.input_ids)
        self._waiting.append(
            LiveSequence(
                request=request,
                future=future,
                stop_ids=frozenset(stops),
                max_new_tokens=min(sampling.max_new_tokens, room),
                key=key,
            )
        )
        self.counters.requests_total += 1

    def abort(self, is_meant: Callable[[LiveSequence], bool]) -> int:
        """End the sequences `is_meant` picks with what they have; returns how many."""
        queued = [s for s in self._waiting if is_meant(s)]
        self._waiting = deque(s for s in self._waiting if not is_meant(s))
        rows = [row for row, s in enumerate(self._live) if is_meant(s)]
        for sequence in queued + [self._live[row] for row in rows]:
            self._finish(sequence, FinishReason.ABORT)
        with torch.inference_mode():
            self._release(rows)
        return len(queued) + len(rows)

    def abort_ids(self, request_ids: Iterable[str]) -> int:
        """Abort by request id; no ids means everything."""
        ids = set(request_ids)
        return self.abort(lambda s: not ids or s.request.request_id in ids)

    def cancel(self, future: Future[Generation]) -> int:
        """Abort the sequence whose client has gone."""
        return self.abort(lambda s: s.future is future)

    def pause(self, mode: PauseMode) -> None:
        """Stop stepping; `abort` also ends every sequence there is. Pausing twice is allowed."""
        self._state = _State.PAUSED
        if mode is PauseMode.ABORT:
            self.abort(lambda s: True)

    def resume(self) -> None:
        """Step again. Resuming twice is allowed."""
        self._state = _State.RUNNING

    def apply_weights(self, weights: PreparedWeights, version: Version) -> None:
        """Swap the weights and their label; later tokens of live sequences are drawn under them."""
        self._runner.apply_weights(weights)
        self.version = version
        self._prefixes.clear()
        self._context_is_stale = True
        for sequence in self._live:
            sequence.begin_span(version)
        self.counters.weight_loads_total += 1

    def step(self) -> None:
        """Let waiting sequences join and draw one token for every live one."""
        started = time.perf_counter()
        with torch.inference_mode():
            if self._context_is_stale:
                self._recompute_context()
            self._admit()
            if self._live:
                tokens_R, logprobs_R = self._sampler.sample(self._runner.decode(self._last_tokens_R))
                self._last_tokens_R = tokens_R
                self.counters.generated_tokens_total += len(self._live)
                if self._live.note(tokens_R.tolist(), logprobs_R.tolist()):
                    self._release_ended()
        self.counters.steps_total += 1
        self.counters.step_seconds_total += time.perf_counter() - started

    def _recompute_context(self) -> None:
        """Prompts of groups once, then what each row generated; its last token is the next step's input."""
        prompts = [s.request.input_ids for s in self._live]
        suffixes = [s.output_ids[:-1] for s in self._live]
        self._runner.rebuild(self._prefixes.get_many(prompts, self._runner.prefill), suffixes)
        self.counters.recomputed_tokens_total += sum(map(len, suffixes)) + sum(map(len, set(prompts)))
        self._context_is_stale = False

    def _admit(self) -> None:
        """Fill free slots in order of arrival and draw the first token of whoever joins."""
        first = len(self._live)
        joining = [self._waiting.popleft() for _ in range(min(self._options.max_num_seqs - first, len(self._waiting)))]
        if not joining:
            return
        prefixes = self._prefixes.get_many([s.request.input_ids for s in joining], self._compute_prompts)
        self._runner.append(prefixes)
        for sequence in joining:
            self._sampler.add(sequence.request.sampling, sequence.stop_ids, sequence.key)
        num_prompt_tokens = sum(len(s.request.input_ids) for s in joining)
        self.counters.prompt_tokens_total += num_prompt_tokens
        self.counters.prefill_cached_tokens_total += num_prompt_tokens
        tokens_R, logprobs_R = self._sampler.sample(torch.stack([p.logits for p in prefixes]), first)
        self._last_tokens_R = torch.cat((self._last_tokens_R, tokens_R))
        for sequence, token, logprob in zip(joining, tokens_R.tolist(), logprobs_R.tolist(), strict=True):
            sequence.begin_span(self.version)
            sequence.output_ids.append(token)
            sequence.output_logprobs.append(logprob)
        self.counters.generated_tokens_total += len(joining)
        self._live.join(joining)
        self._release_ended()

    def _compute_prompts(self, prompts: list[tuple[int, ...]]) -> list[Prefix]:
        num_tokens = sum(map(len, prompts))
        self.counters.prefill_computed_tokens_total += num_tokens
        self.counters.prefill_cached_tokens_total -= num_tokens
        return self._runner.prefill(prompts)

    def _release_ended(self) -> None:
        """Hand over the sequences that end with their last token; they leave."""
        ended = [(row, s, reason) for row, s in enumerate(self._live) if (reason := s.end_reason()) is not None]
        for _, sequence, reason in ended:
            self._finish(sequence, reason)
        self._release([row for row, _, _ in ended])

    def _finish(self, sequence: LiveSequence, reason: FinishReason) -> None:
        if not math.isfinite(sum(sequence.output_logprobs)):
            self._fail_non_finite(sequence)
            return
        sequence.future.set_result(
            Generation(
                request_id=sequence.request.request_id,
                output_ids=sequence.output_ids,
                output_logprobs=sequence.output_logprobs,
                version_spans=sequence.spans(),
                finish_reason=reason,
            )
        )
        if reason is FinishReason.STOP:
            self.counters.requests_stop_total += 1
        elif reason is FinishReason.LENGTH:
            self.counters.requests_length_total += 1
        else:
            self.counters.requests_abort_total += 1

    def _fail_non_finite(self, sequence: LiveSequence) -> None:
        # Its slot may hold NaN, which would reach the row that takes it over: 0 · NaN is NaN.
        self._context_is_stale = True
        self.counters.requests_failed_total += 1
        sequence.future.set_exception(
            InfraError(
                f"expected finite log-probs for request {sequence.request.request_id}, got some that are not under version "
                f"{self.version}; the weights or the dtype overflow: load other weights or use float32"
            )
        )

    def _release(self, rows: list[int]) -> None:
        """Drop rows; each hole is filled with the last row that stays, so that most rows keep their place."""
        if not rows:
            return
        count = len(self._live) - len(rows)
        gone = set(rows)
        tail = [row for row in range(count, len(self._live)) if row not in gone]
        order = [tail.pop() if row in gone else row for row in range(count)]
        self._live.retain(order)
        self._sampler.retain(order)
        self._runner.retain(order)
        self._last_tokens_R = self._last_tokens_R[order]
