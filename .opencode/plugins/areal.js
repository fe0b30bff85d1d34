// GENERATED from .agents/hooks.yaml source:856fb7ecec3f text:488581080d57; edit the source, then run: areal harness build
// Runs areal's hooks around edits: a refusal stops the edit, a remark is appended to what the tool returns to the model.
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"

const HOOKS = [{"id": "guard-generated", "event": "before_edit", "timeout_s": 10}, {"id": "after-edit", "event": "after_edit", "timeout_s": 10}]
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
        if (context) output.output = `${output.output ?? ""}\n${context}`
      }
    },
  }
}
