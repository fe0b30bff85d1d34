# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Where statistics go: one file a backend, each imported only when its backend is on."""
