# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import io
import threading
from pathlib import Path

import pytest

from areal.utils import stat_keys as keys
from areal.utils.printing import short_duration, short_number, tabulate_stats
from areal.utils.progress import ProgressReporter, bottleneck, closing_lines, explain_bottleneck, step_line

ROW = {
    keys.GLOBAL_STEP: 12,
    keys.VERSION: 13,
    keys.STEP_S: 8.4,
    keys.GENERATION_S: 5.1,
    keys.ROLLOUT_S: 5.2,
    "timeperf/recompute_logp": 0.9,
    "timeperf/train_step": 2.0,
    keys.SYNC_S: 0.2,
    keys.REWARD: 0.62,
    keys.REWARD_SEM: 0.05,
    keys.LAG_MEAN: 0.9,
    keys.LAG_MAX: 2.0,
    keys.ENTROPY: 1.314,
    keys.MISMATCH_KL: 4.2e-4,
    keys.TOKENS_PER_S: 21034.0,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_step_line_full_row_has_the_documented_form() -> None:
    assert step_line(ROW, 200) == (
        "step 12/200 | v13 | 8.4s (roll 5.1 wait 5.2 train 2.9 sync 0.2) | reward 0.62±.05 | lag 0.9/2 | ent 1.31 | "
        "klx 4e-4 | 21k tok/s | bound: rollout"
    )


def test_step_line_shows_what_the_invariants_cost_where_it_can_be_seen() -> None:
    line = step_line({**ROW, "timeperf/collect_probe": 0.3, "timeperf/score_probe": 0.1, "timeperf/check_tokens": 0.01})
    assert "(roll 5.1 wait 5.2 train 2.9 sync 0.2 check 0.4)" in line
    assert "check" not in step_line({**ROW, "timeperf/check_tokens": 0.01})


def test_step_line_missing_statistics_leave_their_fields_out() -> None:
    assert step_line({keys.GLOBAL_STEP: 0}) == "step 0"
    assert step_line({keys.GLOBAL_STEP: 0, keys.STEP_S: 1.0, keys.SFT_LOSS: 2.5}) == "step 0 | 1.0s | loss 2.5"


def test_step_line_evaluation_and_broken_invariant_are_shown() -> None:
    extra = {keys.EVAL_GREEDY: 0.8, keys.EVAL_SAMPLED: 0.32, keys.EVAL_S: 30.0, keys.invariant_ok("tokens"): 0.0}
    line = step_line({**ROW, **extra})
    assert "eval 30.0)" in line and "| eval 0.80 greedy 0.32 sampled | bound: eval | BROKEN: tokens" in line


def test_step_line_supervised_evaluation_shows_its_loss() -> None:
    row = {keys.GLOBAL_STEP: 0, keys.SFT_LOSS: 2.5, keys.SFT_EVAL_LOSS: 2.75}
    assert step_line(row) == "step 0 | loss 2.5 | eval loss 2.75"


def test_closing_lines_say_how_the_run_went_and_where_to_look() -> None:
    summary = {
        "status": "finished",
        "num_steps": 80,
        "wall_s": 192.0,
        "tokens_per_s": 21034.0,
        "trainer_wait_share": 0.118,
        "overlap_share": 0.87,
        "accuracy_before": {"greedy": 0.214, "sampled": 0.18, "num_problems": 500},
        "accuracy_after": {"greedy": 0.682, "sampled": 0.61, "num_problems": 500},
    }
    assert closing_lines(summary, Path("runs/my logs")) == [
        "finished: 80 steps in 3m12s | 21k tok/s | trainer waited 12% of the time | rollouts in flight 87% of its work",
        "held-out accuracy (500 problems): greedy 21.4% → 68.2%, sampled 18.0% → 61.0%",
        "run directory: runs/my logs",
        "for curves, time line and rollouts: areal report 'runs/my logs'",
    ]


def test_closing_lines_leave_out_what_was_not_measured() -> None:
    summary = {"status": "failed", "num_steps": 0, "wall_s": 3.0}
    assert closing_lines(summary, Path("r"))[0] == "failed: 0 steps in 3.0s"
    after = {**summary, "accuracy_after": {"greedy": 0.5, "sampled": 0.25, "num_problems": 4}}
    assert closing_lines(after, Path("r"))[1] == "held-out accuracy (4 problems): greedy 50.0%, sampled 25.0%"


def test_bottleneck_is_the_longest_phase_with_advice() -> None:
    assert bottleneck({}) is None and explain_bottleneck({keys.STEP_S: 3.0}) is None
    assert explain_bottleneck(ROW).startswith("62% of the time goes to rollout: ")
    assert bottleneck({"timeperf/train_step": 3.0, keys.ROLLOUT_S: 1.0}) == "train"


def test_reporter_not_a_terminal_writes_plain_lines() -> None:
    stream = io.StringIO()
    with ProgressReporter(200, stream=stream) as reporter:
        reporter.step(ROW)
    assert stream.getvalue() == step_line(ROW, 200) + "\n"


def test_reporter_terminal_keeps_the_line_and_draws_a_bar() -> None:
    stream = Terminal()
    with ProgressReporter(200, stream=stream) as reporter:
        reporter.step({**ROW, keys.GLOBAL_STEP: 12})
    assert step_line(ROW, 200) in stream.getvalue() and "13/200" in stream.getvalue()


def test_waiting_longer_than_the_limit_says_why() -> None:
    written = threading.Event()

    class Stream(io.StringIO):
        def flush(self) -> None:
            written.set()

    stream = Stream()
    reporter = ProgressReporter(1, stream=stream)
    with reporter.waiting("rollouts", lambda: "2 of 8 episodes run", every_s=0.01):
        assert written.wait(10)
    assert stream.getvalue().startswith("waiting 0.0s for rollouts: 2 of 8 episodes run\n")


def test_waiting_short_is_silent_and_passes_errors_on() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError), ProgressReporter(1, stream=stream).waiting("x", lambda: "y", every_s=60):
        raise KeyError
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0004, "4e-4"),
        (0.915, "0.915"),
        (1.3146, "1.31"),
        (12.0, "12"),
        (999.6, "1k"),
        (21034, "21k"),
        (123456, "123k"),
        (-2.5e6, "-2.5M"),
        (float("nan"), "nan"),
        (0.099999, "0.1"),
    ],
)
def test_short_number_has_few_digits(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(8.42, "8.4s"), (192, "3m12s"), (7500, "2h05m"), (59.97, "1m00s")])
def test_short_duration_reads_well(seconds: float, text: str) -> None:
    assert short_duration(seconds) == text


def test_tabulate_stats_aligns_columns_and_keeps_order() -> None:
    table = tabulate_stats({"b": 1.0, "long/key": 2, "c": 0.5}, col=2, floatfmt=".2f")
    assert table == "b 1.00 | long/key 2\nc 0.50"
    assert tabulate_stats({}) == ""
