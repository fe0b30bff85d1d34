# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The control of the demo: a reward that says nothing about the answer, as often 1 as the real one in the middle of a run."""

import hashlib


def random_reward_fn(
    prompt: str, completion: str, prompt_ids: list[int], completion_ids: list[int], **_: object
) -> float:
    """1.0 for 60 % of the samples, chosen by a hash of the text."""
    digest = hashlib.blake2b(f"{prompt}\0{completion}".encode(), digest_size=2).digest()
    return float(int.from_bytes(digest, "little") < 0.6 * 65536)
