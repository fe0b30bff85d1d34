# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal archon new`: finds out what an HF decoder computes, by measuring it, and writes the family that does the same.

`command` runs everything: `request`, `acceptance` (what was named), `pipeline` (the discovery), `install` (stage, test, move).
`pipeline` goes through five steps; what a step cannot explain is an exception of `findings`:

1. Models to measure: `tiny_config`, `unbuildable`; run and written down by `hf_model`; equations between tensors: `dataflow`.
2. One model in our vocabulary: `observe`, with a module for each part: `positions`, `layout`, `norms`, `attention` (with
   `qk_norms`, `rotary`, `temperature`, `scores`), `mla`, `delta_net`, `short_conv`, `feed_forward`, `moe`, `experts`. `verify`
   compares the whole.
3. Many models, a field changed in each: `sensitivity` with `alternatives`, `rope_study`, `given` (the user's config),
   `freezing`; whether the description is the only one: `uniqueness`.
4. Options as expressions over fields: `relate`, `explain`, `terms`; names of weights: `weight_rules`, `rule_sizes`.
5. Text: `source`, `adapter_source`, `proof_source` with `templates`.
"""
