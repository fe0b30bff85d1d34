# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal archon list | check | new`: which model families Archon runs, the proof of one, and one that does not exist yet.

Loads torch and transformers only when an action runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from areal.cli.archon_new import add_new


def main(argv: Sequence[str]) -> int:
    """Run one action; 0 when all is well, 1 when a check failed, 2 (by `ConfigError`) for an unknown model type."""
    parser = argparse.ArgumentParser(prog="areal archon", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_list(actions)
    _add_check(actions)
    add_new(actions)
    args = parser.parse_args(list(argv))
    return args.run(args)


def _add_list(actions: Any) -> None:
    action = actions.add_parser("list", help="the model types and the options they use")
    form = action.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object: model type -> option -> words")
    form.add_argument("--markdown", action="store_true", help="print the page docs/archon_families.md")
    action.add_argument("model_types", nargs="*", metavar="MODEL_TYPE", help="only these (default: all)")
    action.set_defaults(run=_list)


def _add_check(actions: Any) -> None:
    action = actions.add_parser("check", help="prove a family against transformers on tiny random models")
    action.add_argument("model_types", nargs="+", metavar="MODEL_TYPE", help="`model_type` of the HF config, or `all`")
    action.add_argument("--json", action="store_true", help="print a JSON object with the result of every check")
    action.add_argument("--seeds", type=int, default=1, help="how many random models a config (default: %(default)s)")
    action.set_defaults(run=_check)


def _list(args: argparse.Namespace) -> int:
    from areal.experimental.models.archon.proof.options import option_table
    from areal.experimental.models.archon.proof.page import families_page

    _hush_transformers()
    table = option_table(args.model_types or None)
    if args.json:
        print(json.dumps(table, indent=1, ensure_ascii=False))
    elif args.markdown:
        print(families_page(table), end="")
    else:
        for model_type, words in table.items():
            used = [f"{name}: {word}" for name, word in words.items() if word != "–"]
            print(f"{model_type}\n  " + "\n  ".join(used))
    return 0


def _hush_transformers() -> None:
    """What it says about tiny configs would hide our output."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()


def _check(args: argparse.Namespace) -> int:
    from areal.experimental.models.archon.model_spec import get_supported_model_types
    from areal.experimental.models.archon.proof import prove

    model_types = sorted(get_supported_model_types()) if args.model_types == ["all"] else args.model_types
    results = []
    for model_type in model_types:
        for result in prove(model_type, seeds=range(args.seeds)):
            results.append(result)
            if not args.json:
                print(result, flush=True)
    failed = [result for result in results if not result.passed]
    if args.json:
        report = {"ok": not failed, "num_failed": len(failed), "results": [asdict(result) for result in results]}
        print(json.dumps(report, indent=1))
    else:
        print(f"{len(results) - len(failed)} of {len(results)} checks passed")
    return 1 if failed else 0
