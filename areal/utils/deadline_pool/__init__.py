# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A process pool for user code whose deadline kills: one bad call costs itself, never its neighbours.

`pool` runs on the caller's event loop, `worker` in the child processes, `wire` is what both agree on.
`areal.api.reward_api` is the user. Must never import torch.
"""
