# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Iterator

import pytest
import torch

from areal.utils import cpu_backend
from areal.utils.cpu_backend import choose_cpu_matmul
from areal.utils.errors import ConfigError

SHAPES = [(32, 16, 24)]


@pytest.fixture(autouse=True)
def _restore_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(cpu_backend.ENV_OVERRIDE, raising=False)
    before = torch.backends.mkldnn.matmul.fp32_precision
    yield
    torch.backends.mkldnn.matmul.fp32_precision = before


def _clock(seconds_of_each_read: list[float]):
    reads = iter(seconds_of_each_read)
    return lambda: next(reads)


@pytest.mark.parametrize(
    ("mkl_s", "onednn_s", "expected"), [(2.0, 1.0, "onednn"), (1.0, 2.0, "mkl"), (1.0, 0.95, "mkl")]
)
def test_measure_takes_the_clearly_faster_backend(mkl_s: float, onednn_s: float, expected: str):
    warm_up = [0.0, 9.0, 0.0, 9.0]
    timed = [0.0, mkl_s, 0.0, onednn_s]
    choice = cpu_backend._measure(SHAPES, _clock([0.0, *warm_up, *timed, 10.0]))
    assert (choice.backend, choice.mkl_s, choice.onednn_s) == (expected, mkl_s, onednn_s)


def test_choose_cpu_matmul_backend_that_rounds_is_never_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cpu_backend, "is_onednn_accurate", lambda: False)
    assert choose_cpu_matmul(SHAPES).backend == "mkl"
    with pytest.raises(ConfigError, match="rounds products to bfloat16"):
        choose_cpu_matmul(SHAPES, override="onednn")


def testis_onednn_accurate_rounding_to_bfloat16_is_noticed(monkeypatch: pytest.MonkeyPatch):
    matmul = torch.Tensor.__matmul__

    def rounding(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.dtype != torch.float32:
            return matmul(a, b)
        return matmul(a.bfloat16().float(), b.bfloat16().float())

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    assert not cpu_backend.is_onednn_accurate()


def test_choose_cpu_matmul_env_override_is_obeyed_without_timing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(cpu_backend.ENV_OVERRIDE, "mkl")
    choice = choose_cpu_matmul(SHAPES)
    assert (choice.backend, choice.mkl_s) == ("mkl", None)
    assert torch.backends.mkldnn.matmul.fp32_precision == "none"


def test_choose_cpu_matmul_deterministic_mode_does_not_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    choice = choose_cpu_matmul(SHAPES)
    assert (choice.backend, choice.mkl_s) == ("mkl", None)


def test_choose_cpu_matmul_unknown_override_raises_with_the_choices():
    with pytest.raises(ConfigError, match=r"mkl, onednn or auto.*got 'blas'"):
        choose_cpu_matmul(SHAPES, override="blas")


@pytest.mark.parametrize(("before", "inside"), [(None, "mkl"), ("auto", "mkl"), ("onednn", "onednn")])
def test_without_measuring_decides_auto_and_restores_it(
    monkeypatch: pytest.MonkeyPatch, before: str | None, inside: str
) -> None:
    if before is not None:
        monkeypatch.setenv(cpu_backend.ENV_OVERRIDE, before)
    with pytest.raises(KeyError), cpu_backend.without_measuring():
        assert os.environ[cpu_backend.ENV_OVERRIDE] == inside
        raise KeyError
    assert os.environ.get(cpu_backend.ENV_OVERRIDE) == before
