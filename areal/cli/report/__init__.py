# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal report RUN_DIR`: one self-contained HTML file of a run. `load` reads, `timeline`, `panels`, `overview` compute,
`render` writes; the templates beside them only draw."""

from areal.cli.report.command import build_report, main

__all__ = ["build_report", "main"]
