# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Training engines over `engine/core`, clients of inference servers, and the embedded `native` server."""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "FSDPEngine": "areal.engine.fsdp_engine",
        "NativeBackend": "areal.engine.native_remote",
    },
)
