# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A model server that follows a script, so that a platform's program shows what its model would be told.

Speaks as much of three HTTP protocols as the programs need: Anthropic messages, OpenAI chat completions, OpenAI responses. Records
every request. A step of the script is a tool call, or None for the end.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SAID = "done"


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model wants to be run."""

    name: str
    arguments: dict[str, Any]
    freeform: str = ""  # the input of a tool that takes plain text instead of JSON


class FakeModel:
    """Serves a script on a free port of this machine; `requests` holds the bodies that carried tools."""

    def __init__(self, script: list[ToolCall]) -> None:
        self.script = script
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next_step(self, body: str) -> tuple[int, ToolCall | None]:
        """The answer to a request; requests without tools (titles, summaries) are not part of the conversation."""
        if not json.loads(body or "{}").get("tools"):
            return 0, None
        with self._lock:
            self.requests.append(body)
            index = len(self.requests) - 1
        return index, self.script[index] if index < len(self.script) else None

    def told(self) -> str:
        """Everything that the model was sent, as text."""
        return "\n".join(self.requests)


def _handler(model: FakeModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode("utf-8", "replace")
            speak = next(
                (speak for path, speak in DIALECTS.items() if self.path.partition("?")[0].endswith(path)), None
            )
            if speak is None:
                self.send_error(404)
                return
            events = speak(*model.next_step(body))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for name, event in events:
                text = event if isinstance(event, str) else json.dumps(event)
                self.wfile.write(f"event: {name}\ndata: {text}\n\n".encode() if name else f"data: {text}\n\n".encode())

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing on stderr."""

    return Handler


def _anthropic(index: int, call: ToolCall | None) -> Iterator[tuple[str, Any]]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {
        "id": f"msg_{index}",
        "type": "message",
        "role": "assistant",
        "model": "fake",
        "content": [],
        "usage": usage,
    }
    yield "message_start", {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None}}
    if call is None:
        block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": SAID}
    else:
        block = {"type": "tool_use", "id": f"toolu_{index}", "name": call.name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call.arguments)}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
    yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    stop = {"stop_reason": "end_turn" if call is None else "tool_use", "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}}
    yield "message_stop", {"type": "message_stop"}


def _chat(index: int, call: ToolCall | None) -> Iterator[tuple[str, Any]]:
    if call is None:
        delta: dict[str, Any] = {"role": "assistant", "content": SAID}
    else:
        function = {"name": call.name, "arguments": json.dumps(call.arguments)}
        delta = {
            "role": "assistant",
            "tool_calls": [{"index": 0, "id": f"call_{index}", "type": "function", "function": function}],
        }
    base = {"id": f"chat_{index}", "object": "chat.completion.chunk", "created": 0, "model": "fake"}
    yield "", base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    reason = "stop" if call is None else "tool_calls"
    yield "", base | {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    yield "", "[DONE]"


def _responses(index: int, call: ToolCall | None) -> Iterator[tuple[str, Any]]:
    response = {"id": f"resp_{index}", "object": "response", "status": "in_progress", "output": []}
    yield "response.created", {"type": "response.created", "response": response}
    if call is None:
        content = [{"type": "output_text", "text": SAID, "annotations": []}]
        item: dict[str, Any] = {"type": "message", "id": f"msg_{index}", "role": "assistant", "content": content}
    elif call.freeform:
        item = {
            "type": "custom_tool_call",
            "id": f"c_{index}",
            "call_id": f"call_{index}",
            "name": call.name,
            "input": call.freeform,
        }
    else:
        arguments = json.dumps(call.arguments)
        item = {
            "type": "function_call",
            "id": f"f_{index}",
            "call_id": f"call_{index}",
            "name": call.name,
            "arguments": arguments,
        }
    yield "response.output_item.done", {"type": "response.output_item.done", "output_index": 0, "item": item}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    yield (
        "response.completed",
        {"type": "response.completed", "response": response | {"status": "completed", "usage": usage}},
    )


DIALECTS = {"/messages": _anthropic, "/chat/completions": _chat, "/responses": _responses}
