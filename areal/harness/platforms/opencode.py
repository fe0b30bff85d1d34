# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""OpenCode: agents with permissions, and hooks as a plugin. Skills come from `.agents/skills`, the brief from `AGENTS.md`."""

from __future__ import annotations

import json

from areal.harness.generate.output import PLACEHOLDER, Generated, with_header
from areal.harness.generate.sources import HOOKS_FILE, Expert, Hook, Sources
from areal.harness.platforms.common import (
    Bodies,
    RenderedExpert,
    front_matter,
    settings_sha,
    source_sha,
    split_front_matter,
)

EXPERT_FILE = ".opencode/agents/{name}.md"
# The last rule that matches a tool wins: first nothing, then what the access gives.
READING = {"*": "deny", "read": "allow", "glob": "allow", "grep": "allow", "list": "allow"}
PERMISSIONS = {
    "read": READING | {"edit": "deny", "bash": "deny", "webfetch": "deny"},
    "verify": READING | {"edit": "deny", "bash": "ask", "webfetch": "deny"},
    "write": READING | {"edit": "allow", "bash": "ask", "webfetch": "deny"},
}
PLUGIN = """\
// @HEADER@
// Runs areal's hooks around edits: a refusal stops the edit, a remark is appended to what the tool returns to the model.
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"

const HOOKS = @HOOKS@
const EDIT_TOOLS = new Set(["edit", "write", "patch", "apply_patch", "multiedit"])

export const Areal = async ({ directory, worktree }) => {
  const root = worktree && worktree !== "/" ? worktree : directory
  const areal = existsSync(join(root, ".venv/bin/areal")) ? join(root, ".venv/bin/areal") : "areal"
  const run = (hook, tool, args) => {
    const input = JSON.stringify({ cwd: root, tool_name: tool, tool_input: args ?? {} })
    const command = ["harness", "hook", hook.id, "--platform", "opencode"]
    const done = spawnSync(areal, command, { cwd: root, input, encoding: "utf8", timeout: hook.timeout_s * 1000 })
    return done.status === 0 && done.stdout ? JSON.parse(done.stdout) : {}
  }
  return {
    "tool.execute.before": async (input, output) => {
      if (!EDIT_TOOLS.has(input.tool)) return
      for (const hook of HOOKS.filter((hook) => hook.event === "before_edit")) {
        const { deny } = run(hook, input.tool, output.args)
        if (deny) throw new Error(deny)
      }
    },
    "tool.execute.after": async (input, output) => {
      if (!EDIT_TOOLS.has(input.tool)) return
      for (const hook of HOOKS.filter((hook) => hook.event === "after_edit")) {
        const { context } = run(hook, input.tool, input.args)
        if (context) output.output = `${output.output ?? ""}\\n${context}`
      }
    },
  }
}
"""


def render(sources: Sources, bodies: Bodies) -> list[Generated]:
    """Everything under `.opencode`."""
    return [*(_expert(expert, bodies) for expert in sources.experts), _plugin(sources.hooks, bodies)]


def _expert(expert: Expert, bodies: Bodies) -> Generated:
    fields = {
        "description": expert.description,
        "mode": "subagent",
        "temperature": 0.1,
        "permission": PERMISSIONS[expert.access],
    }
    text = front_matter(fields, bodies.experts[expert.name])
    path = EXPERT_FILE.format(name=expert.name)
    return with_header(path, text, expert.source, source_sha(expert, bodies), "opencode")


def read_expert(text: str, name: str) -> RenderedExpert:
    """Read an expert back from its file; OpenCode takes the name from the file name."""
    fields, body = split_front_matter(text)
    access = next(access for access, permission in PERMISSIONS.items() if permission == fields["permission"])
    return RenderedExpert(name, str(fields["description"]), access, body)


def _plugin(hooks: tuple[Hook, ...], bodies: Bodies) -> Generated:
    listed = [{"id": hook.id, "event": hook.event, "timeout_s": hook.timeout_s} for hook in hooks]
    text = PLUGIN.replace("@HOOKS@", json.dumps(listed))
    assert PLACEHOLDER in text
    return with_header(".opencode/plugins/areal.js", text, HOOKS_FILE, settings_sha(bodies), "opencode")
