# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a layout costs, without the hardware: `fake_world` pretends the ranks, `parameters` counts what they hold, `activations`
and `collectives` estimate a step, `report` puts it together for `areal plan`. Never trains, never loads weights."""
