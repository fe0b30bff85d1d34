# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from tests.house_rules import violations


def test_tree_keeps_the_house_rules() -> None:
    assert violations(Path(__file__).resolve().parent.parent) == []
