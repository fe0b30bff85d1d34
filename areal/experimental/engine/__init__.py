# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`ArchonEngine`: areal's own decoder trained under every parallel layout, over the shared core of all training engines.

`archon_engine` the engine, `topology` which rank does what, `building` from a config to a parallel model. The core drives one
of two models: `decoder_model` (micro-batches one after another) or `pipelined_model` (all of a step through the stages). Both
hold `stored` (weights by HF name, over `weights` and `hf_files`) and `experts` (balancing once an optimizer step).
"""
