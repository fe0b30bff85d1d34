# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One module a platform: how experts, rules, skills and hooks are written for it, and how they are read back.

A further platform is one more module with `render(sources, bodies)` and one line in `PLATFORMS`.
"""

from areal.harness.platforms import claude, codex, opencode

PLATFORMS = {"claude": claude.render, "codex": codex.render, "opencode": opencode.render}
READERS = {"claude": claude.read_expert, "codex": codex.read_expert, "opencode": opencode.read_expert}
EXPERT_FILES = {"claude": claude.EXPERT_FILE, "codex": codex.EXPERT_FILE, "opencode": opencode.EXPERT_FILE}
FOLDERS = {"claude": ".claude", "codex": ".codex", "opencode": ".opencode"}
