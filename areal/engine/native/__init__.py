# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The embedded inference server: continuous batching over a slot KV cache in PyTorch, ids in, ids and log-probs out.

`server` is the process, `http_api` its endpoints; `engine` the thread that owns all state, `scheduler` that state;
`runner` the model behind it (`archon_runner` fast, `hf_runner` any other family); `sampling`, `slot_cache`, `prefix_cache`,
`checkpoint` the parts; `messages` and `request_parser` the protocol.
"""

from areal.utils.lazy import attach

_HOME = "areal.engine.native"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "EngineOptions": f"{_HOME}.scheduler",
        "GenerateRequest": f"{_HOME}.messages",
        "Generation": f"{_HOME}.messages",
        "NativeEngine": f"{_HOME}.engine",
        "SamplingParams": f"{_HOME}.messages",
        "build_runner": f"{_HOME}.model_loading",
    },
)
