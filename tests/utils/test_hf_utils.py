# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from transformers.utils import logging as hf_logging

from areal.utils.hf_utils import no_progress_bars


def test_no_progress_bars_bar_of_transformers_is_silent_inside_and_back_outside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hf_logging.enable_progress_bar()  # commands that other tests ran in this process switch it off for good
    with no_progress_bars():
        assert list(hf_logging.tqdm(range(3), desc="Loading weights")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    list(hf_logging.tqdm(range(3), desc="Loading weights"))
    assert "Loading weights" in capsys.readouterr().err


def test_no_progress_bars_hook_of_the_caller_is_restored() -> None:
    seen = []

    def hook(make_bar: object, args: tuple, kwargs: dict) -> object:
        seen.append(kwargs)
        return hf_logging.EmptyTqdm(*args)

    outer = hf_logging.set_tqdm_hook(hook)
    try:
        with no_progress_bars():
            hf_logging.tqdm(range(3))
        assert seen == []
        hf_logging.tqdm(range(3), desc="mine")
        assert seen == [{"desc": "mine"}]
    finally:
        hf_logging.set_tqdm_hook(outer)
