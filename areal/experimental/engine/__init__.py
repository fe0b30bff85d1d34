# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`ArchonEngine`: areal's own decoder trained under every parallel layout.

`archon_engine` the public names, `building` from a config to a parallel model, `topology` which rank does what,
`decoder_model` the model that the shared core drives, `weights` HF files in and out.
"""
