# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Command lines of inference servers. A builder is all the supervisor knows of a kind of server.

A server writes `{"host", "port", "pid"}` to `ready_file`, atomically, once it listens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from areal.api.cli_args import NativeConfig


@dataclass(frozen=True, kw_only=True)
class ServerStart:
    """What one start of one server is told: which server, with which weights, and where to report that it listens."""

    index: int
    weights_path: str
    version: int
    ready_file: Path


@dataclass(frozen=True, kw_only=True)
class ServerCommand:
    """A command line, with variables added to the environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


CommandBuilder = Callable[[ServerStart], ServerCommand]


def native_server_command(
    config: NativeConfig, host: str = "127.0.0.1", trace_dir: Path | None = None
) -> CommandBuilder:
    """Builder for the embedded server (`native:dN`); every server takes a free port and `config.num_threads` threads.

    With `trace_dir`, a run directory, servers record there when they work.
    """

    def build(start: ServerStart) -> ServerCommand:
        options = {
            "--model-path": start.weights_path,
            "--host": host,
            "--port": 0,
            "--max-num-seqs": config.max_num_seqs,
            "--max-model-len": config.max_model_len,
            "--seed": config.seed,
            "--num-threads": config.num_threads,
            "--device": config.device,
            "--version": start.version,
            "--ready-file": start.ready_file,
        }
        if config.dtype is not None:
            options["--dtype"] = config.dtype
        if trace_dir is not None:
            options |= {"--trace-dir": trace_dir, "--index": start.index}
        argv = [sys.executable, "-m", "areal.engine.native.server"]
        for name, value in options.items():
            argv += [name, str(value)]
        return ServerCommand(argv=tuple(argv), env={"OMP_NUM_THREADS": str(config.num_threads)})

    return build
