# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from areal.utils.errors import ConfigError
from areal.workflow.registry import WORKFLOWS, find_workflow
from areal.workflow.rlvr import RLVRWorkflow


def test_find_workflow_name_and_path_are_the_same() -> None:
    assert find_workflow("rlvr") is RLVRWorkflow
    assert find_workflow("areal.workflow.rlvr.RLVRWorkflow") is RLVRWorkflow
    assert all(isinstance(find_workflow(name), type) for name in WORKFLOWS)


def test_find_workflow_unknown_name_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'rlvr'"):
        find_workflow("rlv")
