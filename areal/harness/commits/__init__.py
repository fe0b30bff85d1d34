# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Commit messages and pull requests: scopes inferred from the files, messages checked, descriptions drafted.

| code | finds |
| --- | --- |
| C001 | a message without a subject, or one that is not `type(scope): subject` |
| C002 | a type that is not in `.agents/scopes.yaml` |
| C003 | a scope that is not in `.agents/scopes.yaml`, or not the one of the files |
| C004 | a subject that is too long, ends in a full stop or does not start like an order |
| C005 | a body that does not follow an empty line |
| C006 | a breaking change (`!`) whose footer does not say what breaks |
"""
