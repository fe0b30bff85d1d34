# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal harness doctor`: the real programs of the platforms, started offline on a copy of what we generate.

No account, no network and no model is needed: programs list what they load, and where they speak to a model, it is
`fake_model`. A platform whose program is not installed is reported as missing, never as healthy.
"""

from areal.harness.conformance.diagnose import PROBES, diagnose

__all__ = ["PROBES", "diagnose"]
