# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal doctor distributed`: all collectives of all axes pass on this machine; a missing rank, a dead one and a wrong result are told."""

import json

import pytest

from areal.cli.doctor import main
from areal.infra.collectives_check.collectives import COLLECTIVES
from areal.infra.collectives_check.layouts import AXES, default_layouts, parse_layout
from areal.infra.collectives_check.run import RankState, _explain


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict]:
    code = main(["distributed", "--json", *argv])
    return code, json.loads(capsys.readouterr().out)


def test_every_collective_of_every_axis_passes_on_two_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(capsys, "-n", "2", "--backend", "gloo")

    assert (code, report["findings"]) == (0, [])
    done = {(step["axis"], step["collective"]) for step in report["steps"]}
    assert {(axis, name) for axis, names in AXES.items() for name in names} <= done
    assert all(rank["finished"] for rank in report["ranks"])


def test_missing_rank_gives_the_stacks_of_all_ranks_and_who_waits_for_whom(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(
        capsys, "-n", "2", "--layout", "d2", "--timeout", "2", "--rehearse-hang", "1", "--backend", "gloo"
    )

    assert (code, [finding["code"] for finding in report["findings"]]) == (1, ["G001"])
    message = report["findings"][0]["message"]
    assert "ranks 0: all_reduce_sum along dp_shard of d2; ranks 1: after create_meshes" in message
    waiting, missing = (rank["stack"] for rank in report["ranks"])
    assert "in all_reduce" in waiting
    assert "in wait" in missing


def test_every_collective_of_the_table_exists_and_is_used() -> None:
    assert {name for names in AXES.values() for name in names} == set(COLLECTIVES)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4, 8])
def test_default_layouts_take_all_ranks(num_ranks: int) -> None:
    for layout in default_layouts(num_ranks):
        assert parse_layout(layout, num_ranks).world_size == num_ranks


def test_all_ranks_in_one_step_point_at_the_network() -> None:
    assert "messages do not arrive" in _explain([RankState(step="x"), RankState(step="x")])


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["-n", "0"], 2),
        (["-n", "2", "--timeout", "0"], 2),
        (["-n", "2", "--rehearse-hang", "2"], 2),
        (["-n", "2", "--layout", "d2t2"], 2),
        (["-n", "2", "--layout", "what"], 2),
        (["-n", "64", "--backend", "nccl"], 3),
    ],
)
def test_wrong_usage_and_missing_gpus_start_nothing(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    got, report = run(capsys, *argv)

    assert got == code
    assert report["error"]["message"]
