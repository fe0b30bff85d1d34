# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The `areal` command: one module a subcommand, each with `main(argv) -> exit code`, loaded when it is called."""
