# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a program can find wrong with a change. Each check sees the change and yields findings with its code; codes are stable.

| code | finds |
| --- | --- |
| R010 | an absolute path of somebody's machine |
| R011 | a package that imports or reads `tests/` |
| R012 | an added figure, configuration or data file that nothing mentions |
| R013 | a setting or flag that changed while its reference page did not |
| R014 | a translated page that changed without its original, or the other way round |
| R015 | a file in which only the formatting changed, among files with real changes |
| R016 | a new option without help, or without a range or choices |
| R017 | a public name or parameter that went without a deprecation |
| R018 | a test that needs a GPU and does not say so |
| R019 | a large binary or file |
| R020 | a source of the harness that changed without its generated copies, or a copy that was edited |
| R021 | a requirement that changed without an upgrade summary |
| R022 | a collective that only some ranks reach |
| R023 | a test that asserts nothing |
| R024 | a skipped test without a reason |
| R025 | a new setting that nothing reads |
"""
