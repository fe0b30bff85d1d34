# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal api discover|audit|show|diff|probe`: contracts with third-party packages, and whether a release keeps them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from areal.cli.envelope import run_reported
from areal.harness.apiaudit import inspection
from areal.harness.apiaudit.audit import AuditResult
from areal.harness.apiaudit.errors import SourcesUnavailable
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.wheels import Release, environment, fetch, from_path, installed
from areal.harness.apiaudit.packages import PACKAGES, Package, find_package
from areal.harness.apiaudit.probe import probe
from areal.harness.apiaudit.service import (
    audit_release,
    contract_files,
    discover_packages,
    drift,
    parse_spec,
    repository,
)
from areal.harness.core.errors import Exit, HarnessError, UsageProblem
from areal.harness.core.findings import Finding, Report
from areal.harness.deps.locks import locked_versions

MIN_AGREEMENT = 0.995
"""Below this share of agreement with a real import `areal api probe` fails."""


def main(argv: Sequence[str]) -> int:
    """Run one of the subcommands; exit codes as everywhere in the harness."""
    args = _parser().parse_args(list(argv))
    work: dict[str, Callable[[argparse.Namespace, Report], None]] = {
        "discover": _discover,
        "audit": _audit,
        "show": _show,
        "diff": _diff,
        "probe": _probe,
    }
    given = {name: value for name, value in vars(args).items() if name not in ("command", "json") and value}
    report = Report(tool=f"areal api {args.command}", input={name: str(value) for name, value in given.items()})
    return run_reported(
        report,
        lambda running: work[args.command](args, running),
        as_json=args.json,
        show_all=args.command == "audit" and args.all,
        text=_text,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="areal api", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the JSON envelope")

    one = commands.add_parser("discover", parents=[common], help="write the contracts from our sources")
    one.add_argument("packages", nargs="*", metavar="PKG", help="packages (default: all)")
    one.add_argument("--check", action="store_true", help="only tell whether the contracts are up to date")

    one = commands.add_parser("audit", parents=[common], help="check our call sites against a release")
    one.add_argument("spec", metavar="PKG[==VER]", help="package and target version")
    one.add_argument(
        "--from", dest="base", metavar="VER", help="version we come from (default: locked, else installed)"
    )
    one.add_argument("--wheel", type=Path, help="wheel, source archive or folder of the target, instead of a download")
    one.add_argument("--from-wheel", type=Path, help="the same for the version we come from")
    one.add_argument("--installed", action="store_true", help="the target is what is installed here")
    one.add_argument("--with-tests", action="store_true", help="usages under tests/ too")
    one.add_argument("--all", action="store_true", help="print every finding, and what cannot be verified")

    one = commands.add_parser("show", parents=[common], help="what a symbol is at a release")
    one.add_argument("symbol", help="dotted name")
    one.add_argument("--at", metavar="PKG==VER", help="release (default: installed)")
    one.add_argument("--wheel", type=Path, help="wheel, source archive or folder")

    one = commands.add_parser("diff", parents=[common], help="what changed between two releases")
    one.add_argument("package", metavar="PKG", help="package with a contract")
    one.add_argument("old", metavar="OLD", help="earlier version")
    one.add_argument("new", metavar="NEW", help="later version")
    one.add_argument("--used", action="store_true", help="only what we use")

    one = commands.add_parser("probe", parents=[common], help="compare our verdicts with a real import")
    one.add_argument("package", metavar="PKG", help="package with a contract")
    one.add_argument("--python", default=sys.executable, help="interpreter of the environment (default: this one)")
    return parser


def _discover(args: argparse.Namespace, report: Report) -> None:
    root = repository()
    packages = [find_package(name) for name in args.packages] or list(PACKAGES.values())
    discovered = discover_packages(root, packages)
    report.stats = {
        "files": discovered.found.num_files,
        "usages": {name: len(usages) for name, usages in discovered.found.usages.items()},
    }
    if args.check:
        report.add(drift(root, discovered))
        return
    written = []
    for path, text in contract_files(root, discovered).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path.relative_to(root).as_posix())
    report.result["written"] = written


def _releases(args: argparse.Namespace, root: Path) -> tuple[Package, Release, Release | None]:
    name, _, version = args.spec.partition("==")
    if version:
        name, version = parse_spec(args.spec)
    package = find_package(name)
    if args.wheel is not None:
        target = from_path(args.wheel, version)
    elif args.installed or not version:
        target = installed(package)
    else:
        target = fetch(package, version)
    if args.from_wheel is not None:
        return package, target, from_path(args.from_wheel, args.base or "")
    return package, target, _base(args, root, package, target)


def _base(args: argparse.Namespace, root: Path, package: Package, target: Release) -> Release | None:
    if args.base:
        return fetch(package, args.base)
    if args.installed:
        return None
    is_other = args.wheel is not None  # a file may hold anything under the version that we have
    for version in locked_versions(root, package.name).values():
        if is_other or version != target.version:
            with contextlib.suppress(
                SourcesUnavailable
            ):  # what is installed may stand in, and the report says what did
                return fetch(package, version)
    try:
        here = installed(package)
    except HarnessError:
        return None
    return here if is_other or here.version != target.version else None


def _audit(args: argparse.Namespace, report: Report) -> None:
    root = repository()
    package, target, base = _releases(args, root)
    report.input = {
        "package": package.name,
        "to": target.version,
        "from": base.version if base else None,
        "sha256": target.sha256,
    }
    result = audit_release(root, package, target, base, with_tests=args.with_tests)
    report.add(result.findings)
    report.stats = result.stats
    report.result["unverifiable"] = result.unverifiable
    if base is None and not args.installed:
        report.result["alone"] = f"{package.name}=={target.version}"
    if not result.stats["usages"]:
        report.result["unused"] = package.name
    report.result["needs_test"] = _semantics(root, package)
    report.next = _next(package, target, result)


def _semantics(root: Path, package: Package) -> list[dict[str, str]]:
    from areal.harness.apiaudit.contract import read_contract

    return list(read_contract(root, package).curated.get("semantics", ()))


def _next(package: Package, target: Release, result: AuditResult) -> list[str]:
    at = f"--at {package.name}=={target.version}"
    for finding in result.findings:
        candidates = finding.extra["candidates"]["moved_to"]
        if finding.extra["status"] == "BREAK" and candidates:
            return [f"areal api show {candidates[0]} {at}"]
    return []


def _show(args: argparse.Namespace, report: Report) -> None:
    if args.wheel is not None:
        release = from_path(args.wheel)
    elif args.at:
        name, version = parse_spec(args.at)
        release = fetch(find_package(name), version)
    else:
        owners = [package for package in PACKAGES.values() if package.owns(args.symbol)]
        if not owners:
            raise UsageProblem(
                f"{args.symbol} belongs to no package with a contract; say --at PKG==VER", code="bad_spec"
            )
        release = installed(owners[0])
    report.input = {"symbol": args.symbol, "at": release.version}
    report.result["shown"] = inspection.show(Library(release.sources(), environment()), args.symbol)


def _diff(args: argparse.Namespace, report: Report) -> None:
    package = find_package(args.package)
    old, new = (Library(fetch(package, version).sources()) for version in (args.old, args.new))
    if args.used:
        found = discover_packages(repository(), [package]).found
        chains = [usage.symbol for usage in found.usages[package.name]]
    else:
        chains = inspection.public_chains(old, package.imports)
    changed = inspection.differences(old, new, chains)
    report.stats = {"compared": len(set(chains)), "changed": len(changed)}
    report.result["changed"] = changed


def _probe(args: argparse.Namespace, report: Report) -> None:
    package = find_package(args.package)
    found = discover_packages(repository(), [package]).found
    symbols = [
        usage.symbol for usage in found.usages[package.name] if usage.kind.value in ("import", "call", "attribute")
    ]
    result = probe(package, symbols, args.python)
    report.stats = {
        "agreed": result.agreed,
        "disagreed": len(result.disagreed),
        "undecided": result.undecided,
        "errors": len(result.errors),
        "agreement": round(result.agreement, 4),
        "same_signatures": result.same_signatures,
        "other_signatures": len(result.other_signatures),
    }
    report.result |= {
        "disagreed": result.disagreed,
        "errors": result.errors,
        "other_signatures": result.other_signatures,
    }
    report.add(Finding(code="A010", message=text, severity="warning") for text in result.disagreed)
    if result.agreement < MIN_AGREEMENT:
        report.exit = Exit.FINDINGS


def _text(report: Report) -> str:
    lines = [f"{report.tool}: " + ", ".join(f"{name} {value}" for name, value in report.stats.items())]
    if "alone" in report.result:
        lines.append(f"{report.result['alone']} was judged alone: there is no earlier release to compare it with")
    if "unused" in report.result:
        name = report.result["unused"]
        lines.append(f"areal uses nothing of {name}: nothing was judged, and this says nothing about the release")
    for name in report.result.get("written", ()):
        lines.append(f"wrote {name}")
    if "shown" in report.result:
        lines = [f"{name}: {_plain(value)}" for name, value in report.result["shown"].items()]
    for change in report.result.get("changed", ()):
        lines.append(f"{change['symbol']}\n    was {_plain(change['old'])}\n    now {_plain(change['new'])}")
    unverifiable = report.result.get("unverifiable", ())
    if unverifiable:
        lines.append(f"not verifiable from sources: {len(unverifiable)} symbols, such as")
        lines += [f"    {each['symbol']} ({each['reason']})" for each in unverifiable[:3]]
    for each in report.result.get("needs_test", ()):
        lines.append(f"needs a test: {each['symbol']}: {each['check']} ({each['test']})")
    return "\n".join(lines)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value)) if value else "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    return str(value)
