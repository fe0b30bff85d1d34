# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The checks behind `areal harness check`: schema, drift, limits, references; each finding has a stable code.

| code | meaning |
| --- | --- |
| H001 | a generated file is missing, or differs from what its source gives now |
| H002 | a generated file was edited by hand, or no source accounts for it |
| H010 | a source or a generated file breaks its schema, or cannot be read |
| H011 | a name differs from its folder or file |
| H012 | a limit of a platform is exceeded |
| H020 | a path, glob or link leads nowhere |
| H021 | a symbol or identifier does not exist |
| H022 | a command, action, flag, make target, extra, marker or pre-commit hook does not exist |
| H023 | a skill, expert or rule of that name does not exist |
| H024 | a line number in prose |
| H030 | two copies of a skill in folders that a platform scans |
| H040 | a `covers` glob matches nothing, or a package is covered by no expert |
| H041 | a file of the package has no review domain or no commit scope |
"""
