# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal version`: what to paste into a bug report."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from importlib import metadata

import areal

_PACKAGES = ("torch", "transformers", "safetensors", "aiohttp", "omegaconf", "hydra-core")


def main(argv: Sequence[str]) -> int:
    """Print versions, read from package metadata: nothing heavy is imported."""
    argparse.ArgumentParser(prog="areal version", description=__doc__).parse_args(list(argv))
    print(f"areal {areal.__version__}")
    print(f"python {platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        print(f"{package} {_version(package)}")
    return 0


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
