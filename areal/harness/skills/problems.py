# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The ways in which a skill cannot go on, each with its stable code and exit code.

| code | exit | meaning |
| --- | --: | --- |
| S001 | 4 | no such skill |
| S002-S005 | 2 | input unknown, missing, malformed, given twice |
| S010-S014 | 3 | a file exists, has uncommitted changes, changed meanwhile, lies outside, or an interrupted run is in the way |
| S020 | 5 | a template or the skill's own declaration is broken |
| S030, S031 | 3 | the place of an edit is missing, or taken by something else |
| S040-S042 | 1 | a step or a check failed, ran too long, or left a declared file unwritten |
| S043 | 3 | a program is missing |
| S050, S051 | 4, 3 | no such undo token; what it wrote was changed since |
| S060 | 1 | a self-test failed |
"""

from __future__ import annotations

from areal.harness.core.errors import Exit, HarnessError

NEXT_ACTIONS = {
    "S010": "choose another name, or remove what is there",
    "S012": "run it again",
    "S013": "remove the link, or choose another name",
    "S020": "mend the skill, then: areal skill selftest",
    "S031": "choose another name",
    "S050": "areal skill undo TOKEN with one of these tokens",
}
"""What to do about a code where the place that raised it knows nothing better."""


class Conflict(HarnessError):
    """Something in the tree is in the way; nothing was written. Shares exit code 3 with `MissingTool`: the code tells."""

    exit = Exit.MISSING


class BrokenSkill(HarnessError):
    """The skill itself is wrong: a template does not render, a declaration does not hold together."""

    exit = Exit.INTERNAL


class StepFailed(HarnessError):
    """A step or a check of a skill failed; nothing was written unless the caller asked to keep it."""

    exit = Exit.FINDINGS
