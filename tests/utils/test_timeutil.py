# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch.distributed as dist

from areal.utils.timeutil import EpochStepTimeFreqCtl, FrequencyControl
from tests.distributed import run_ranks


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_check_every_third_step_fires_on_3_6_9() -> None:
    control = FrequencyControl(frequency_steps=3)
    assert [n for n in range(1, 11) if control.check()] == [3, 6, 9]


def test_check_without_any_frequency_never_fires() -> None:
    control = FrequencyControl()
    assert not any(control.check() for _ in range(10))


def test_check_initial_value_fires_once_at_the_first_call() -> None:
    control = FrequencyControl(frequency_steps=3, initial_value=True)
    assert [n for n in range(1, 9) if control.check()] == [1, 4, 7]


def test_check_seconds_without_torch_distributed_fires_by_the_clock() -> None:
    clock = Clock()
    control = FrequencyControl(frequency_seconds=10, clock=clock)
    fired = []
    for _ in range(7):
        clock.now_s += 4
        fired.append(control.check())
    assert fired == [False, False, True, False, False, True, False]


def test_check_steps_and_seconds_need_both() -> None:
    clock = Clock()
    control = FrequencyControl(frequency_seconds=10, frequency_steps=2, clock=clock)
    assert not control.check(5)
    clock.now_s += 11
    assert control.check(0)
    clock.now_s += 11
    assert not control.check(1)
    assert control.check(1)


@pytest.mark.parametrize("bad", [{"frequency_steps": 0}, {"frequency_seconds": -1.0}])
def test_frequency_not_positive_raises(bad: dict) -> None:
    with pytest.raises(ValueError, match="> 0"):
        FrequencyControl(**bad)


def test_epoch_step_time_any_condition_fires_and_none_masks_another() -> None:
    clock = Clock()
    control = EpochStepTimeFreqCtl(freq_epoch=1, freq_step=2, freq_sec=None, clock=clock)
    # Epochs of three steps: steps 2 and 4 by step, steps 3 and 6 by epoch.
    assert [n for n in range(1, 7) if control.check(epochs=int(n % 3 == 0), steps=1)] == [2, 3, 4, 6]


def test_load_state_dict_keeps_progress_but_the_new_configuration_decides() -> None:
    clock = Clock()
    before = EpochStepTimeFreqCtl(None, 10, 60, clock=clock)
    clock.now_s += 50
    for _ in range(4):
        assert not before.check(0, 1)
    later = Clock()
    later.now_s = 5000.0  # another process, another clock
    after = EpochStepTimeFreqCtl(None, 6, 60, clock=later)
    after.load_state_dict(before.state_dict())
    assert not after.check(0, 1)
    assert after.check(0, 1)  # 6 steps, not the old 10
    later.now_s += 10
    assert after.check(0, 1)  # 50 s + 10 s


def _one_rank_is_due(rank: int, world_size: int) -> bool:
    clock = Clock()
    control = FrequencyControl(frequency_seconds=10, group=dist.group.WORLD, clock=clock)
    clock.now_s += 20 * rank
    return control.check()


def test_check_seconds_over_ranks_agrees_on_the_longest() -> None:
    assert run_ranks(_one_rank_is_due, 2) == [True, True]
