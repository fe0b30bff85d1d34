# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The pages under `docs/`: originals and translations kept together, the site built, its links checked.

| code | finds |
| --- | --- |
| D001 | a page that has no translation, or a translation of nothing (a note unless the page is listed as required) |
| D002 | a translation without a stamp, or whose original changed since |
| D003 | other headings, code blocks, links, tables or lists than the original has |
| D004 | mathematics, code or inline code that differs from the original |
| D005 | a link or anchor that leads nowhere |
| D006 | a generated page that is not current |
| D007 | paragraphs of a translation that are the original, word for word |
| D008 | a translation of a generated page |
"""
