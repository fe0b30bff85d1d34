# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal train run --config FILE --driver package.module:main [--dry-run] [key=value ...]`: call a driver's `main(argv)`.

The same as `python driver.py --config FILE key=value ...`; modules of the current folder can be drivers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from areal.utils.dynamic_import import import_from_string
from areal.utils.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Run the driver in this process; its exceptions pass through, its integer result is the exit code."""
    parser = argparse.ArgumentParser(prog="areal train", description=__doc__, allow_abbrev=False)
    run = parser.add_subparsers(metavar="ACTION", required=True).add_parser("run", help="run a driver")
    run.add_argument("--config", required=True, metavar="FILE", help="the YAML file")
    run.add_argument("--driver", required=True, metavar="MODULE:FUNCTION", help="a function taking a list of arguments")
    run.usage = "areal train run [-h] --config FILE --driver MODULE:FUNCTION [--dry-run] [key=value ...]"
    args, rest = parser.parse_known_args(list(argv))

    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        driver = import_from_string(args.driver)
    except ConfigError as error:
        raise ConfigError(f"--driver: {error}") from error
    if not callable(driver):
        raise ConfigError(
            f"--driver: expected a function, got {type(driver).__name__} {args.driver!r}; name a function"
        )
    result = driver(["--config", args.config, *rest])
    return result if isinstance(result, int) else 0
