# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Turns JSON bodies into typed requests; every mistake of a client becomes a `RequestError` with expected, got and hint.

Unknown keys are refused: a sampling option that nothing reads would silently change the distribution.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NoReturn

from areal.engine.native.messages import GenerateRequest, PauseMode, RequestError, SamplingParams

_SAMPLING_KEYS = tuple(f.name for f in fields(SamplingParams))
_MAX_COUNT = 2**62
"""Token counts and offsets must leave room for additions in 64 bits."""


def parse_generate(body: object, *, vocab_size: int) -> GenerateRequest:
    """A `/generate` body; raises `RequestError`. Prompt length is the engine's to judge."""
    body = _object(body, "body", ("request_id", "input_ids", "sampling_params"))
    request_id = _text(body, "request_id")
    input_ids = _token_ids(body, "input_ids", vocab_size)
    if not input_ids:
        _refuse("input_ids", "at least one token id", "none", "send the rendered prompt")
    return GenerateRequest(
        request_id=request_id, input_ids=input_ids, sampling=_sampling(body.get("sampling_params", {}))
    )


def parse_pause(body: object) -> PauseMode:
    """A `/pause` body: `{"mode": "keep" | "abort"}`."""
    mode = _text(_object(body, "body", ("mode",)), "mode")
    if mode not in [m.value for m in PauseMode]:
        _refuse("mode", "keep or abort", repr(mode), "keep freezes live sequences, abort returns them")
    return PauseMode(mode)


def parse_load_weights(body: object) -> tuple[str, int]:
    """A `/load_weights` body: `{"path": str, "version": int}`."""
    body = _object(body, "body", ("path", "version"))
    path = _text(body, "path")
    if "\0" in path:
        _refuse("path", "a directory", repr(path[:80]), "leave the zero byte out")
    return path, _integer(body, "version", None, 0)


def parse_abort(body: object) -> list[str]:
    """An `/abort` body: `{"request_ids": [str]}`; empty means all."""
    ids = _object(body, "body", ("request_ids",)).get("request_ids", [])
    if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
        _refuse("request_ids", "a list of strings", _kind(ids), "an empty list aborts everything")
    return ids


def _sampling(value: object) -> SamplingParams:
    given = _object(value, "sampling_params", _SAMPLING_KEYS)
    default = SamplingParams()
    params = SamplingParams(
        max_new_tokens=_integer(given, "max_new_tokens", default.max_new_tokens, 1),
        min_new_tokens=_integer(given, "min_new_tokens", default.min_new_tokens, 0),
        temperature=_number(given, "temperature", default.temperature),
        top_p=_number(given, "top_p", default.top_p),
        top_k=_integer(given, "top_k", default.top_k, -1),
        stop_token_ids=_token_ids(given, "stop_token_ids", None),
        greedy=_flag(given, "greedy"),
        seed=None if given.get("seed") is None else _integer(given, "seed", None, -(2**63), 2**64 - 1),
        ignore_eos=_flag(given, "ignore_eos"),
        rng_offset=_integer(given, "rng_offset", default.rng_offset, 0),
    )
    if params.min_new_tokens > params.max_new_tokens:
        got = f"min {params.min_new_tokens}, max {params.max_new_tokens}"
        _refuse("min_new_tokens", "at most max_new_tokens", got, "lower min_new_tokens")
    if params.temperature < 0.0:
        _refuse("temperature", "a number >= 0", repr(params.temperature), "0 means greedy")
    if not 0.0 < params.top_p <= 1.0:
        _refuse("top_p", "a number in (0, 1]", repr(params.top_p), "1 turns it off")
    return params


def _object(value: object, field: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _refuse(field, "a JSON object", _kind(value), f"its keys are {', '.join(keys)}")
    for key in value:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            _refuse(field, f"the keys {', '.join(keys)}", repr(key[:80]), hint)
    return value


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        _refuse(key, "a non-empty string", _kind(value), f"set {key}")
    return value


def _integer(body: Mapping[str, Any], key: str, default: int | None, low: int, high: int = _MAX_COUNT) -> int:
    value = body.get(key, default)
    if type(value) is not int or not low <= value <= high:
        got = str(value) if type(value) is int and abs(value) < 10**40 else _kind(value)
        _refuse(key, f"an integer from {low} to {high}", got, f"correct {key}")
    return value


def _number(body: Mapping[str, Any], key: str, default: float) -> float:
    value = body.get(key, default)
    if type(value) not in (int, float) or not abs(value) < 1e30 or not math.isfinite(value):
        _refuse(key, "a finite number", _kind(value), f"correct {key}")
    return float(value)


def _flag(body: Mapping[str, Any], key: str) -> bool:
    value = body.get(key, False)
    if not isinstance(value, bool):
        _refuse(key, "true or false", _kind(value), f"correct {key}")
    return value


def _token_ids(body: Mapping[str, Any], key: str, vocab_size: int | None) -> tuple[int, ...]:
    """Ids below `vocab_size`; without one, ids no vocabulary has are allowed (they never match)."""
    value = body.get(key, [])
    if not isinstance(value, list) or not all(type(i) is int for i in value):
        _refuse(key, "a list of token ids", _kind(value), "send integers, not text")
    limit = _MAX_COUNT if vocab_size is None else vocab_size
    if value and not (min(value) >= 0 and max(value) < limit):
        bad = next(i for i in value if not 0 <= i < limit)
        got = str(bad) if abs(bad) < 10**40 else "a huge integer"
        _refuse(key, f"ids from 0 to {limit - 1}", got, "tokenise with the served model's tokenizer")
    return tuple(value)


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    shown = repr(value) if isinstance(value, str | float | bool) else ""
    return f"{type(value).__name__} {shown[:60]}".strip()


def _refuse(field: str, expected: str, got: str, hint: str) -> NoReturn:
    raise RequestError(f"bad {field}", expected=expected, got=got, hint=hint)
