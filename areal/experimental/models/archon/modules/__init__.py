# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The layers a decoder is composed of. Options are declared in `model_args`; a family switches them, never subclasses."""
