# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal doctor` looks at the environment and the machine; `areal doctor distributed -n N` runs every collective that training uses."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from areal.cli.envelope import run_reported
from areal.harness.core.errors import Exit, MissingTool, UsageProblem
from areal.harness.core.findings import Finding, Fix, Report
from areal.utils.errors import ConfigError

STEP_DEADLINE_S = 30.0
STACK_LINES = 40


def main(argv: Sequence[str]) -> int:
    """0 well, 1 something is bad (or a collective hangs, dies or is wrong), 2 wrong usage, 3 torch or GPUs are missing."""
    parser = argparse.ArgumentParser(prog="areal doctor", description=__doc__, allow_abbrev=False)
    parser.add_argument("--fileroot", type=Path, default=Path(), help="where runs will be written (default: here)")
    parser.add_argument("--skip-torch", action="store_true", help="do not start a process that imports torch")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_doctor)
    actions = parser.add_subparsers(metavar="ACTION")
    action = actions.add_parser("distributed", help="every collective, mesh by mesh, with deadlines")
    action.add_argument("-n", type=int, required=True, metavar="N", help="number of ranks on this machine")
    action.add_argument("--layout", action="append", default=[], help="a layout such as d2t2 (default: several)")
    action.add_argument("--backend", choices=("auto", "gloo", "nccl"), default="auto", help="default: %(default)s")
    action.add_argument("--timeout", type=float, default=STEP_DEADLINE_S, metavar="S", help="of a step, in seconds")
    action.add_argument(
        "--rehearse-hang", type=int, metavar="RANK", help="let this rank stop, to see what a hang gives"
    )
    action.add_argument("--json", action="store_true", help="print one JSON object")
    action.set_defaults(run=_distributed)
    args = parser.parse_args(list(argv))
    return args.run(args)


def _doctor(args: argparse.Namespace) -> int:
    from areal.harness.doctor import machine, packages
    from areal.harness.doctor.rows import Row, State, table

    rows: list[Row] = []

    def work(report: Report) -> None:
        rows.extend(packages.python_rows())
        rows.extend(packages.requirement_rows())
        root = Path(__file__).resolve().parents[2]
        rows.extend(packages.contract_rows(root))
        if not args.skip_torch:
            rows.extend(machine.device_rows())
        rows.extend(machine.memory_rows())
        rows.extend(machine.disk_rows(args.fileroot.resolve()))
        rows.extend(machine.network_rows())
        rows.extend(machine.program_rows())
        report.result = {"rows": [row.as_dict() for row in rows]}
        report.stats = {str(state): sum(row.state is state for row in rows) for state in State}
        bad = [row for row in rows if row.state is State.BAD]
        report.exit = Exit.FINDINGS if bad else Exit.DONE
        report.next = [row.mend for row in bad if row.mend]

    return run_reported(Report(tool="areal doctor"), work, as_json=args.json, text=lambda report: table(rows))


def _distributed(args: argparse.Namespace) -> int:
    def work(report: Report) -> None:
        backend = _checked_backend(args)
        from areal.infra.collectives_check.layouts import default_layouts, parse_layout
        from areal.infra.collectives_check.run import check_collectives

        layouts = args.layout or default_layouts(args.n)
        try:
            for layout in layouts:
                parse_layout(layout, args.n)
        except ConfigError as error:
            raise UsageProblem(f"--layout: {error}", code="layout") from error
        report.input = {"ranks": args.n, "backend": backend, "layouts": layouts, "timeout_s": args.timeout}
        result = check_collectives(args.n, backend, layouts, args.timeout, args.rehearse_hang)
        report.stats = {"steps": len(result.steps), "wrong": sum(bool(step.wrong) for step in result.steps)}
        report.result = {
            "steps": [vars(step) for step in result.steps],
            "ranks": [{"step": r.step, "finished": r.finished, "exit": r.exit, "stack": r.stack} for r in result.ranks],
        }
        for step in result.steps:
            if step.wrong:
                message = f"{step.collective} along {step.axis} of {step.layout}: {step.wrong}"
                report.add(
                    [Finding(code="G002", message=message, hint="a transport that corrupts; try another backend")]
                )
        if result.problem:
            code = "G001" if result.problem == "hang" else "G003"
            fix = _fix(backend) if result.is_transport else None
            hint = "" if fix else "the stacks above show where each rank is"
            report.add([Finding(code=code, message=result.explanation, fix=fix, hint=hint)])

    return run_reported(Report(tool="areal doctor distributed"), work, as_json=args.json, text=_steps_text)


def _checked_backend(args: argparse.Namespace) -> str:
    if args.n < 1:
        raise UsageProblem(f"expected -n >= 1, got {args.n}", code="ranks")
    if args.timeout <= 0:
        raise UsageProblem(f"expected --timeout > 0, got {args.timeout:g}", code="timeout")
    if args.rehearse_hang is not None and not 0 <= args.rehearse_hang < args.n:
        raise UsageProblem(
            f"expected --rehearse-hang between 0 and {args.n - 1}, got {args.rehearse_hang}", code="ranks"
        )
    if importlib.util.find_spec("torch") is None:
        raise MissingTool("torch is not installed", code="no_torch", next_action="make install")
    import torch

    num_gpus = torch.cuda.device_count()
    if args.backend == "nccl" and num_gpus < args.n:
        message = f"NCCL needs a GPU a rank: {args.n} ranks, {num_gpus} GPUs here"
        raise MissingTool(message, code="no_gpu", next_action=f"areal doctor distributed -n {args.n} --backend gloo")
    if args.backend == "auto":
        return "nccl" if 0 < args.n <= num_gpus else "gloo"
    return args.backend


def _fix(backend: str) -> Fix:
    if backend == "nccl":
        return Fix(
            kind="run",
            command="NCCL_DEBUG=INFO areal doctor distributed ...  # then: NCCL_P2P_DISABLE=1, NCCL_SOCKET_IFNAME=lo",
        )
    return Fix(kind="run", command="GLOO_SOCKET_IFNAME=lo areal doctor distributed ...")


def _steps_text(report: Report) -> str:
    lines = [f"{'layout':<12} {'axis':<16} {'collective':<18} {'ranks':>5} {'ms':>8}"]
    for step in report.result["steps"]:
        mark = "  WRONG" if step["wrong"] else ""
        place = f"{step['layout']:<12} {step['axis']:<16} {step['collective']:<18}"
        lines.append(f"{place} {step['size']:>5} {1e3 * step['seconds']:>8.1f}{mark}")
    for rank, state in enumerate(report.result["ranks"]):
        if state["stack"]:
            stack = "\n".join(f"    {line}" for line in state["stack"].splitlines()[:STACK_LINES])
            lines.append(f"rank {rank}, in {state['step']}:\n{stack}")
    return "\n".join(lines)
