# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Frames between the pool and a worker: kind, function number and length, then the payload.

To the worker: LOAD (pickled `LoadRequest`), CALL (pickled `(args, kwargs)`). Back: READY after the start, LOADED,
SCORED (`SCORE`), FAILED (JSON list: exception type, message with traceback). One answer a request, in order.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("<BII")
SCORE = struct.Struct("<dQ")
"""The reward, and the resident memory of the worker after the call in bytes."""


class Kind(IntEnum):
    """What a frame says."""

    LOAD = 1
    CALL = 2
    READY = 3
    LOADED = 4
    SCORED = 5
    FAILED = 6


class LoadRequest(NamedTuple):
    """A function to import: its pickle, and the script or module to run first when it lives in `__main__`."""

    function: bytes
    main_path: str | None = None
    main_module: str | None = None


def frame(kind: Kind, function_id: int, payload: bytes = b"") -> bytes:
    """One message as bytes."""
    return HEADER.pack(kind, function_id, len(payload)) + payload
