# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""API contracts: which third-party names areal uses, and whether a given release still offers them.

`ours/` reads our own sources, `library/` reads a release's sources (neither ever imports what it reads), `checks/` compares
the two; `contract.py` keeps what was found in `checklists/`. Called by `areal api` and `areal deps`.
"""
