# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the scaffolding skills run: samples of data, tests from what a module does, mutants that tests must kill."""
