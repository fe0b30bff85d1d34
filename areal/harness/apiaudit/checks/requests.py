# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Checks the requests that our clients send and the flags that our launchers set against a server's sources."""

from __future__ import annotations

import difflib
import re

from areal.harness.apiaudit.checks.verdict import Problem, Verdict
from areal.harness.apiaudit.library.servers import Route, Server
from areal.harness.apiaudit.usage import Usage


def check_route(usage: Usage, server: Server) -> Verdict:
    """The verdict on one request: the route exists, takes the method, and knows every field."""
    method, _, path = usage.symbol.partition(" ")
    if not server.routes:
        return Verdict(undecided="no routes found in the sources")
    matching = [route for route in server.routes if _matches(route.path, path)]
    if not matching:
        paths = sorted({route.path for route in server.routes})
        similar = tuple(difflib.get_close_matches(path, paths, n=2, cutoff=0.6))
        problem = Problem(code="ROUTE_REMOVED", key=path, message=f"the server has no route {path}", similar=similar)
        return Verdict(problems=(problem,))
    taking = [route for route in matching if method in route.methods or not route.methods]
    if not taking:
        known = ", ".join(sorted({m for route in matching for m in route.methods}))
        message = f"{path} takes {known}, we send {method}"
        return Verdict(problems=(Problem(code="ROUTE_REMOVED", key=usage.symbol, message=message),))
    verdicts = [_fields(usage, route, server) for route in taking]
    decided = [verdict for verdict in verdicts if not verdict.undecided]  # several servers may have the same path
    return min(decided or verdicts, key=lambda verdict: len(verdict.problems))


def _matches(template: str, path: str) -> bool:
    pattern = re.sub(r"\{[^}]*\}", "[^/]+", template)
    return bool(re.fullmatch(pattern, path)) or template == path


def _fields(usage: Usage, route: Route, server: Server) -> Verdict:
    where = f"{route.module}.{route.handler.name}" if route.handler is not None else route.module
    if not usage.keywords:
        return Verdict(path=where)
    known = server.fields(route)
    if known is None:
        return Verdict(undecided=f"the request that {where} takes has no declared fields", path=where)
    problems = []
    doubts = []
    for keyword in usage.keywords:
        outer, _, inner = keyword.partition(".")
        names = server.nested_fields(route, outer) if inner else known
        if names is None:
            doubts.append(keyword)
        elif (inner or outer) not in names:  # a server that takes extra fields reads only those it declares
            similar = tuple(difflib.get_close_matches(inner or outer, names, n=2, cutoff=0.6))
            message = f"{usage.symbol}: the request has no field {keyword!r} ({where})"
            problems.append(Problem(code="FIELD_REMOVED", key=keyword, message=message, similar=similar))
    return Verdict(problems=tuple(problems), path=where, doubts=tuple(doubts))


def check_flag(usage: Usage, server: Server) -> Verdict:
    """The verdict on one flag; `--no-x` is the other side of a boolean `--x`."""
    if not server.flags:
        return Verdict(undecided="no flags found in the sources")
    flag = usage.symbol
    if flag in server.flags or (flag.startswith("--no-") and "--" + flag.removeprefix("--no-") in server.flags):
        return Verdict()
    similar = tuple(difflib.get_close_matches(flag, server.flags, n=2, cutoff=0.7))
    problem = Problem(code="FLAG_REMOVED", key=flag, message=f"the server has no flag {flag}", similar=similar)
    return Verdict(problems=(problem,))
