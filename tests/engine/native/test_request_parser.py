# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from areal.engine.native.messages import GenerateRequest, PauseMode, RequestError, SamplingParams
from areal.engine.native.request_parser import parse_abort, parse_generate, parse_load_weights, parse_pause

GOOD = {"request_id": "a", "input_ids": [1, 2], "sampling_params": {}}
SAMPLING_KEYS = list(SamplingParams.__dataclass_fields__)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.integers(-2, 70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
almost_good = st.fixed_dictionaries(
    {},
    optional={
        "request_id": st.just("a") | json_values,
        "input_ids": st.lists(st.integers(0, 60), min_size=1) | json_values,
        "sampling_params": st.dictionaries(st.sampled_from(SAMPLING_KEYS), json_values) | json_values,
    },
)


def test_every_field_of_a_full_body_is_read() -> None:
    sampling = {
        "max_new_tokens": 7,
        "min_new_tokens": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_token_ids": [3, 4],
        "greedy": True,
        "seed": -1,
        "ignore_eos": True,
        "rng_offset": 9,
    }

    got = parse_generate({**GOOD, "sampling_params": sampling}, vocab_size=61)

    expected = SamplingParams(**{**sampling, "stop_token_ids": (3, 4)})
    assert got == GenerateRequest(request_id="a", input_ids=(1, 2), sampling=expected)


def test_absent_and_null_options_take_the_defaults() -> None:
    got = parse_generate({"request_id": "a", "input_ids": [1], "sampling_params": {"seed": None}}, vocab_size=61)

    assert got.sampling == SamplingParams()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": []}, "at least one"),
        ({"input_ids": [61]}, "0 to 60"),
        ({"input_ids": [-1]}, "0 to 60"),
        ({"input_ids": [True]}, "token ids"),
        ({"input_ids": "text"}, "token ids"),
        ({"request_id": ""}, "non-empty"),
        ({"request_id": 3}, "string"),
        ({"prompt": "x"}, "leave it out"),
        ({"sampling_params": {"temprature": 1}}, "temperature"),
        ({"sampling_params": {"temperature": -0.1}}, ">= 0"),
        ({"sampling_params": {"temperature": float("nan")}}, "finite"),
        ({"sampling_params": {"top_p": 0}}, "(0, 1]"),
        ({"sampling_params": {"max_new_tokens": 0}}, "from 1"),
        ({"sampling_params": {"max_new_tokens": 2.0}}, "integer"),
        ({"sampling_params": {"min_new_tokens": 5, "max_new_tokens": 4}}, "max 4"),
        ({"sampling_params": {"seed": 10**5000}}, "integer"),
        ({"sampling_params": {"greedy": 1}}, "true or false"),
        ({"sampling_params": []}, "JSON object"),
    ],
)
def test_a_bad_generate_body_is_refused_with_expected_and_got(change: dict, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_generate({**GOOD, **change}, vocab_size=61)

    assert message in str(caught.value)
    assert caught.value.status == 400


@given(body=almost_good | json_values)
def test_any_body_is_parsed_or_refused(body: object) -> None:
    for parse in (lambda b: parse_generate(b, vocab_size=61), parse_pause, parse_load_weights, parse_abort):
        try:
            parse(body)
        except RequestError as error:
            assert error.expected and error.got and error.hint


def test_control_bodies_are_read() -> None:
    assert parse_pause({"mode": "keep"}) is PauseMode.KEEP
    assert parse_load_weights({"path": "/x", "version": 3}) == ("/x", 3)
    assert parse_abort({}) == []
    assert parse_abort({"request_ids": ["a"]}) == ["a"]


def test_a_request_error_survives_pickling() -> None:
    error = RequestError("bad", expected="a", got="b", hint="c", status=429)

    again = pickle.loads(pickle.dumps(error))

    assert (str(again), again.status) == (str(error), 429)
