# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal doctor distributed`: every collective that training uses, on every mesh of a layout, with deadlines.

`run.py` starts the ranks and watches them, `rank_main.py` is a rank, `collectives.py` what it does; `layouts.py` chooses meshes.
"""
