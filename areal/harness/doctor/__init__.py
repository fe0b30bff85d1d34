# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal doctor`: rows about this machine and this environment, each with the command that mends it. Never imports torch."""
