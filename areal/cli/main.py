# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The console script `areal`: finds the subcommand, loads its module, reports areal's own errors and interruptions without
a traceback; the same report for training scripts that people start by themselves.

Must never import torch or a subcommand's module before that subcommand is called.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from areal.api.config.fields import suggestion
from areal.cli.interruption import Interruption
from areal.utils.errors import ArealError, ConfigError
from areal.utils.logging import getLogger

logger = getLogger("cli")


BROKEN_PIPE = 128 + 13  # as a shell reports SIGPIPE


@dataclass(frozen=True)
class Command:
    """A subcommand: the module whose `main(argv) -> int` runs it, and one line of help."""

    module: str
    help: str


COMMANDS = {
    "api": Command("areal.cli.api", "contracts with third-party packages: discover our usage, audit a release"),
    "archon": Command("areal.cli.archon", "list Archon's model families, or prove one against transformers"),
    "commit-msg": Command("areal.cli.commit_msg", "check a commit message against the staged files, or begin one"),
    "config": Command("areal.cli.config", "check a configuration file and print the plan of the run"),
    "deps": Command("areal.cli.deps", "check and upgrade dependencies over both manifests"),
    "docs": Command("areal.cli.docs", "keep translations with their originals, check links, build the site"),
    "doctor": Command("areal.cli.doctor", "look at environment and machine; run every collective with deadlines"),
    "harness": Command("areal.cli.harness", "generate what coding agents read, and check that it is true"),
    "plan": Command("areal.cli.plan", "memory and collectives of an Archon layout, without the hardware"),
    "pr": Command("areal.cli.pr", "draft a pull request of the checked-out branch, or open it"),
    "report": Command("areal.cli.report", "make the HTML report of a run directory"),
    "review": Command("areal.cli.review", "analyse a change: domains, risk, who looks at what, tests to run, checks"),
    "skill": Command("areal.cli.skill", "list, run, verify and self-test the skills that extend areal"),
    "train": Command("areal.cli.train", "run a training driver with a configuration file"),
    "version": Command("areal.cli.version", "print the version of areal and of what it runs on"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `areal COMMAND ...`; the exit code: 0 success, 1 failure, 2 wrong usage or configuration, 130 Ctrl-C, 143 SIGTERM."""
    args = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
    if args.command is None:
        print(_parser().format_help())
        return 0
    if args.command not in COMMANDS:
        hint = suggestion(args.command, COMMANDS) or f" Commands: {', '.join(COMMANDS)}."
        print(f"areal: no command {args.command!r}.{hint}", file=sys.stderr)
        return 2
    command = COMMANDS[args.command].module
    return _report_errors(f"areal {args.command}", lambda: importlib.import_module(command).main(args.args))


def run_script(main: Callable[[list[str]], object]) -> int:
    """Run `main(argv)` of a training script; returns the exit code, with areal's own errors as messages, not tracebacks.

    The end of a script: `if __name__ == "__main__": sys.exit(run_script(main))`. `AREAL_LOG_LEVEL=DEBUG` shows tracebacks.
    """
    return _report_errors(Path(sys.argv[0]).name, lambda: main(sys.argv[1:]))


def _report_errors(prog: str, call: Callable[[], object]) -> int:
    result: object = 0
    with Interruption() as interruption:
        try:
            result = call()
        except KeyboardInterrupt:
            return _end_interrupted(prog, interruption)
        except BrokenPipeError:
            if not _reader_is_gone():
                raise  # of a pipe to a process of ours
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the interpreter's end
            return BROKEN_PIPE
        except ArealError as error:
            if interruption.number is None:  # otherwise it broke while the command unwound, and is not why it ends
                logger.debug("%s failed", prog, exc_info=error)
                print(f"{prog}: {error}", file=sys.stderr)
                return 2 if isinstance(error, ConfigError) else 1
        if interruption.number is not None:
            return _end_interrupted(prog, interruption)
    return result if isinstance(result, int) else 0


def _reader_is_gone() -> bool:
    """Whether what reads our output, such as `head`, has had enough."""
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poller.poll(0))


def _end_interrupted(prog: str, interruption: Interruption) -> int:
    """Say so and return the exit code; ends the process here when a step of training still runs in a thread of it.

    The interpreter's orderly end would stop such a thread inside the backward pass, which aborts the process (SIGABRT).
    """
    name = "SIGINT" if interruption.number is None else interruption.number.name
    print(f"{prog}: interrupted by {name}", file=sys.stderr)
    if any(thread.name.startswith("areal-") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(interruption.exit_code)
    return interruption.exit_code


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="areal",
        description="Asynchronous reinforcement learning of language models.",
        epilog=f"commands:\n{listed}\n\n`areal COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of the commands below")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="...", help="arguments of the command")
    return parser


if __name__ == "__main__":
    sys.exit(main())
