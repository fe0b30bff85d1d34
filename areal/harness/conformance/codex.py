# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Codex: roles, skills, hooks and brief as its app server reports them, and a conversation in which its hooks run."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from areal.harness.conformance.fake_model import FakeModel, ToolCall
from areal.harness.conformance.sandbox import Check, Sandbox, isolation, missing
from areal.harness.generate.plan import BRIEF
from areal.harness.generate.sources import Sources

DEADLINE_S = 60
CONFIG = '[projects."{checkout}"]\ntrust_level = "trusted"\n'
# A model name that this Codex knows, so that it offers the tools that edit; nothing is sent to it.
PROVIDER = """\
model = "gpt-5.5"
model_provider = "fake"
approval_policy = "never"
sandbox_mode = "danger-full-access"

[model_providers.fake]
name = "fake"
base_url = "{url}/v1"
wire_api = "responses"
"""


class AppServer:
    """`codex app-server` with JSON lines on its pipes."""

    def __init__(self, program: Path, sandbox: Sandbox) -> None:
        command = [*isolation(), str(program), "app-server"]
        pipe = subprocess.PIPE
        env = sandbox.environment(CODEX_HOME=str(sandbox.home / ".codex"))
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, cwd=sandbox.checkout, env=env
        )
        self.messages: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                with self._arrived:
                    self.messages.append(json.loads(line))
                    self._arrived.notify_all()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def ask(self, number: int, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and wait for its answer; empty when none comes in time."""
        self.send({"id": number, "method": method, "params": params})
        until = time.monotonic() + DEADLINE_S
        with self._arrived:
            while True:
                found = next((message for message in self.messages if message.get("id") == number), None)
                if found is not None or time.monotonic() > until:
                    return (found or {}).get("result", {})
                self._arrived.wait(timeout=1)


def probe(program: Path, sandbox: Sandbox, sources: Sources) -> Iterator[Check]:
    """Ask Codex."""
    home = sandbox.home / ".codex"
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(checkout=sandbox.checkout))
    version = sandbox.run(str(program), "--version")
    yield Check("starts", version.returncode == 0, version.stdout.strip() or version.stderr[-300:])
    server = AppServer(program, sandbox)
    try:
        server.ask(1, "initialize", clientInfo={"name": "areal", "version": "0"})
        server.send({"method": "initialized"})
        where = [str(sandbox.checkout)]
        skills = server.ask(2, "skills/list", cwds=where)
        hooks = server.ask(3, "hooks/list", cwds=where)
        thread = server.ask(4, "thread/start", cwd=where[0])
        warnings = [str(message["params"]) for message in server.messages if "arning" in message.get("method", "")]
    finally:
        server.process.kill()
        server.process.wait()
    wrong = [text for text in warnings if "agent role" in text or "hooks" in text]
    yield Check("experts without a warning", bool(thread) and not wrong, "; ".join(wrong)[:600])
    listed = [skill for entry in skills.get("data", ()) for skill in entry["skills"] if skill["scope"] == "repo"]
    names = {skill.name for skill in sources.skills}
    found = {skill["name"] for skill in listed}
    yield Check("skills", names == found and len(listed) == len(found), missing(names, found))
    entries = [hook for entry in hooks.get("data", ()) for hook in entry["hooks"]]
    problems = [text for entry in hooks.get("data", ()) for text in (*entry["warnings"], *entry["errors"])]
    yield Check("hooks", len(entries) == len(sources.hooks) and not problems, f"{len(entries)} hooks {problems}"[:300])
    brief = [Path(path).name for path in thread.get("instructionSources", ())]
    yield Check("brief", brief == [BRIEF], f"{brief}")
    yield from _converse(program, sandbox, sources)


def _converse(program: Path, sandbox: Sandbox, sources: Sources) -> Iterator[Check]:
    """A model that edits a generated file and a source; hooks of an unknown repository need `--dangerously-bypass-hook-trust`."""
    guarded = sandbox.checkout / BRIEF
    before = guarded.read_bytes()
    first = before.decode().splitlines()[2]
    edit = f"*** Begin Patch\n*** Update File: {BRIEF}\n@@\n-{first}\n+overwritten\n*** End Patch"
    new = "*** Begin Patch\n*** Add File: .agents/notes.txt\n+x\n*** End Patch"
    script = [ToolCall("apply_patch", {}, freeform=edit), ToolCall("apply_patch", {}, freeform=new)]
    with FakeModel(script) as model:
        config = CONFIG.format(checkout=sandbox.checkout)
        (sandbox.home / ".codex" / "config.toml").write_text(PROVIDER.format(url=model.url) + config)
        env = {"CODEX_HOME": str(sandbox.home / ".codex"), "OPENAI_API_KEY": "none"}
        run = sandbox.run(str(program), "exec", "--dangerously-bypass-hook-trust", "hello", alone=False, **env)
        told = model.told()
    detail = "" if told else run.stderr[-600:]
    yield Check("brief shown to the model", "Edit a generated file (its header says so)" in told, detail)
    shown = {skill.name for skill in sources.skills if f"{skill.name}: {skill.description[:40]}" in told}
    yield Check("skills shown to the model", {skill.name for skill in sources.skills} == shown)
    denied = "is generated from .agents/brief" in told and guarded.read_bytes() == before
    yield Check("edit of a generated file is refused", denied, "" if denied else (told[-600:] or detail))
    yield Check("remark after an edit reaches the model", "A source of the harness changed" in told)
