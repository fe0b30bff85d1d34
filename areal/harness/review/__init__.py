# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal review`: what a change touches, how risky that is, who looks at it, and what a program can find wrong with it.

The domains are `.agents/domains.yaml`; the codes of the checks are those of `areal.harness.review.checks`.
"""
