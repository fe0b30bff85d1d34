# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What every harness command shares: findings, reports and exit codes, validated documents, the tracked files."""
