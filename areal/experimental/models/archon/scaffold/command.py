# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What `areal archon new` does, as a function of a report: resolve the model, discover, stage, prove, install.

Every outcome is an exit code and evidence in the report; see `areal.cli.archon_new`.
"""

from __future__ import annotations

import json
import keyword
import logging
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from areal.experimental.models.archon.model_spec import is_supported_model
from areal.experimental.models.archon.scaffold.findings import Ambiguous, Refused, Unexplained
from areal.experimental.models.archon.scaffold.install import format_sources, install, run_tests, stage, target_of
from areal.experimental.models.archon.scaffold.pipeline import Discovery, discover
from areal.harness.core.errors import DecisionNeeded, Exit, UsageProblem
from areal.harness.core.findings import Finding, Report

logger = logging.getLogger("areal.archon.new")
MAX_OUTPUT = 6000


def scaffold(
    report: Report, model: str, *, name: str | None, output: Path | None, dry_run: bool, is_quiet: bool = False
) -> None:
    """Fill a report; raises `HarnessError` for wrong usage and ambiguous options."""
    model_type = model_type_of(model)
    name = name or re.sub(r"\W", "_", model_type)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageProblem(f"expected a Python name for the package, got {name!r}; pass --name", code="name")
    if is_supported_model(model_type) and output is None:
        raise UsageProblem(
            f"expected a model type without a family, got {model_type!r}; pass --output FOLDER to write it elsewhere",
            code="exists",
            next_action=f"areal archon check {model_type}",
        )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        target = target_of(name, output)
    except Refused as refused:
        raise UsageProblem(str(refused), code="target") from refused
    try:
        discovery = discover(model_type, name, target.home, (lambda text: None) if is_quiet else _say)
    except Refused as refused:
        _not_supported(report, model_type, f"{model_type} cannot be an Archon family: {refused}", {})
        return
    except Unexplained as error:
        evidence = {"where": error.where, "errors": error.errors, **error.details}
        _not_supported(report, model_type, f"{model_type}: {error}", evidence)
        return
    except Ambiguous as error:
        raise DecisionNeeded(
            f"{model_type}: {error}; a config that tells them apart is needed", code="A020", choices=error.options
        ) from error
    describe(report, discovery)
    with tempfile.TemporaryDirectory(prefix="areal-archon-new-") as folder:
        if refusal := stage(discovery, target, Path(folder)):
            report.add(
                [Finding(code="A031", severity="warning", message=f"the class's default config is refused: {refusal}")]
            )
        run = run_tests(target, Path(folder))
        report.stats["tests"] = run.summary
        if not run.passed:
            report.exit = Exit.SCAFFOLD_FAILS
            report.result["test_output"] = run.output[-MAX_OUTPUT:]
            report.add([Finding(code="A010", message=f"the generated tests of {model_type} fail: {run.summary}")])
            report.result["files"] = {p.name: p.read_text() for p in (Path(folder) / "package").rglob("*.py")}
            return
        if not dry_run:
            written = install(target, Path(folder), model_type)
            report.stats["written"] = [str(path) for path in written]
            report.next.append(f"areal archon check {model_type}" if target.registry else f"see {target.package}")


def model_type_of(model: str) -> str:
    """The model type that an argument names: itself, a config.json, or a folder with one."""
    path = Path(model)
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        if "/" in model or model.endswith(".json"):
            raise UsageProblem(
                f"expected a model type, a config.json or a folder with one, got {model!r}", code="model"
            )
        return model
    config = json.loads(file.read_text(encoding="utf-8"))
    if "model_type" not in config:
        raise UsageProblem(f"expected an HF config with model_type, got {file} without", code="model")
    text = config.get("text_config")
    return str(text["model_type"] if isinstance(text, Mapping) and "model_type" in text else config["model_type"])


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


def _not_supported(report: Report, model_type: str, message: str, evidence: dict[str, Any]) -> None:
    report.exit = Exit.UNSUPPORTED
    report.add([Finding(code="A011", message=message, extra={"evidence": evidence} if evidence else {})])
    report.next.append("read the evidence; a missing option is one field of model_args.py and one branch of one layer")


def _say(text: str) -> None:
    logger.info(text)


__all__ = ["format_sources", "scaffold"]
