# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What `areal archon new` does, as a function of a report: resolve the model, discover, stage, prove, install.

Every outcome is an exit code and evidence in the report; see `areal.cli.archon_new`.
"""

from __future__ import annotations

import keyword
import logging
import re
import tempfile
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.model_spec import get_model_spec, is_supported_model
from areal.experimental.models.archon.scaffold import hold_out
from areal.experimental.models.archon.scaffold.acceptance import accept, check, expect_sizes
from areal.experimental.models.archon.scaffold.findings import Ambiguous, Refused, Unexplained
from areal.experimental.models.archon.scaffold.install import (
    Target,
    install,
    run_tests,
    stage,
    staged_spec,
    target_of,
)
from areal.experimental.models.archon.scaffold.pipeline import Discovery, discover
from areal.experimental.models.archon.scaffold.request import Request, read_request
from areal.harness.core.errors import DecisionNeeded, Exit, UsageProblem
from areal.harness.core.findings import Finding, Report

logger = logging.getLogger("areal.archon.new")
MAX_OUTPUT = 6000
_NEXT_OPTION = "read the evidence; a missing option is one field of model_args.py and one branch of one layer"
_NEXT_CONFIG = "change the config, or train the HF module (backend fsdp)"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def scaffold(
    report: Report, model: str, *, name: str | None, output: Path | None, dry_run: bool, is_quiet: bool = False
) -> None:
    """Fill a report; raises `HarnessError` for wrong usage and ambiguous options."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        request = read_request(model)
    except Refused as refused:
        _not_supported(report, str(refused))
        return
    model_type = request.model_type
    target = _target(request, name or re.sub(r"\W", "_", model_type), output)
    try:
        check(request.config)
        discovery = discover(
            model_type, target.package.name, target.home, (lambda text: None) if is_quiet else _say, request.config
        )
        describe(report, discovery)
        _prove(report, discovery, target, request, dry_run)
    except Refused as refused:
        _not_supported(report, f"{model_type} cannot be an Archon family: {refused}")
    except Unexplained as error:
        evidence = {"where": error.where, "errors": error.errors, **error.details}
        _not_supported(report, f"{model_type}: {error}", evidence)
    except Ambiguous as error:
        raise DecisionNeeded(
            f"{model_type}: {error}; a config that tells them apart is needed", code="A020", choices=error.options
        ) from error


def _target(request: Request, name: str, output: Path | None) -> Target:
    """Where the family goes; `UsageProblem` for a name or a place that is taken."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageProblem(
            f"expected a name for the package of ASCII letters, digits and _ that starts with a letter, got {name!r}; "
            "pass --name",
            code="name",
        )
    if is_supported_model(request.model_type) and output is None:
        raise UsageProblem(
            f"expected a model type without a family, got {request.model_type!r}{_about_family(request)}; "
            "pass --output FOLDER to write it elsewhere",
            code="exists",
            next_action=f"areal archon check {request.model_type}",
        )
    try:
        return target_of(name, output)
    except Refused as refused:
        raise UsageProblem(str(refused), code="target") from refused


def _about_family(request: Request) -> str:
    """Whether the family that exists runs the config that was named."""
    if request.config is None:
        return ""
    try:
        get_model_spec(request.model_type).model_args_class.from_hf_config(request.config)  # type: ignore[attr-defined]
    except (UnsupportedConfig, TypeError) as error:
        return f", whose family refuses this config ({error})"
    return ", whose family runs this config already"


def _prove(report: Report, discovery: Discovery, target: Target, request: Request, dry_run: bool) -> None:
    """Stage, test and install what was discovered."""
    with tempfile.TemporaryDirectory(prefix="areal-archon-new-") as folder:
        if refusal := stage(discovery, target, Path(folder)):
            if request.config is None:
                expect_sizes(discovery.study, discovery.family.expected)
            report.add(
                [Finding(code="A031", severity="warning", message=f"the class's default config is refused: {refusal}")]
            )
        if warning := accept(staged_spec(target, Path(folder)), request, discovery.study):
            report.add([Finding(code="A032", severity="warning", message=warning)])
        run = run_tests(target, Path(folder))
        report.stats["tests"] = run.summary
        if not run.passed:
            report.result["test_output"] = run.output[-MAX_OUTPUT:]
            _fail(report, Path(folder), f"the generated tests of {request.model_type} fail: {run.summary}")
            return
        spec = staged_spec(target, Path(folder))
        if wrong := hold_out.failures(spec, request.model_type, discovery.study.base):
            report.result["held_out"] = [str(result) for result in wrong]
            _fail(report, Path(folder), f"{request.model_type} on a config that was held out: {wrong[0]}")
            return
        if not dry_run:
            written = install(target, Path(folder), request.model_type)
            report.stats["written"] = [str(path) for path in written]
            report.next.append(
                f"areal archon check {request.model_type}" if target.registry else f"see {target.package}"
            )


def _fail(report: Report, folder: Path, message: str) -> None:
    """What was staged is shown, and not written."""
    report.exit = Exit.SCAFFOLD_FAILS
    report.add([Finding(code="A012", message=message)])
    report.result["files"] = {p.name: p.read_text() for p in (folder / "package").rglob("*.py")}


def describe(report: Report, discovery: Discovery) -> None:
    """What was found, and how sure it is."""
    study, family = discovery.study, discovery.family
    report.stats |= {
        "configs_observed": len(study.samples),
        "fields_tried": sum(f.was_tried for f in study.fields.values()),
        "worst_logits_error": max(s.errors[0] for s in study.samples),
    }
    report.result["fields"] = {
        "without_influence": sorted(family.ignored),
        "only_these_values": dict((family.expected | family.expected_each).items()),
        "not_explained": [
            {"field": f.name, "value": value, "reason": reason}
            for f in study.fields.values()
            for value, reason in {repr(v): (v, r) for v, r in f.unexplained}.values()
        ],
        "not_tried": sorted(f.name for f in study.fields.values() if not f.was_tried),
    }
    report.result["separation"] = discovery.separation
    report.add(
        Finding(
            code="A030",
            severity="note",
            message=f"{entry['field']}={entry['value']!r} is not computed, and refused or left at its default: {entry['reason']}",
        )
        for entry in report.result["fields"]["not_explained"]
    )


def _not_supported(report: Report, message: str, evidence: dict[str, Any] | None = None) -> None:
    report.exit = Exit.UNSUPPORTED
    report.add([Finding(code="A011", message=message, extra={"evidence": evidence} if evidence else {})])
    report.next.append(_NEXT_CONFIG if evidence is None or "field" in evidence else _NEXT_OPTION)


def _say(text: str) -> None:
    logger.info(text)
