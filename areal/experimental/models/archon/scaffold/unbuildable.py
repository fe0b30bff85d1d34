# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Why no tiny model of a class could be built: the line of transformers that failed, and mixers that would be refused anyway.

Called by `pipeline` when every tiny config failed; never raises.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from areal.experimental.models.archon.scaffold.delta_net import is_delta_net
from areal.experimental.models.archon.scaffold.short_conv import is_short_conv
from areal.experimental.models.archon.scaffold.tiny_config import BUILD_ERRORS


def why_unbuildable(config_class: type[PreTrainedConfig], error: Exception) -> str:
    """One sentence: what the blocks hold that no option computes, if anything, and the error with its place."""
    lines = str(error).strip().splitlines()
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f"{Path('transformers', 'models')}/" in f.filename
    ]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
    what = f"no tiny model of it could be built: {type(error).__name__}: {lines[-1] if lines else ''}{place}"
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config_class())
    except BUILD_ERRORS:
        return f"transformers builds no model of its default config either; name a config.json. {what[0].upper()}{what[1:]}"
    mixers = _convolving(model)
    if mixers:
        kind = "a convolution, state space or linear attention"
        return f"its blocks hold {', '.join(mixers)} ({kind}), which is not known; {what}"
    if not any("attention" in type(module).__name__.lower() for module in model.modules()):
        blocks = max((m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=len, default=[])
        held = sorted({type(child).__name__ for block in blocks for child in block.children()})
        return f"its blocks hold {', '.join(held)} and no attention (a recurrent model), which is not known; {what}"
    return what


def _convolving(model: torch.nn.Module) -> list[str]:
    """The classes of modules that convolve over tokens in a way that is not known."""
    owners = {
        type(module).__name__
        for module in model.modules()
        if any(isinstance(child, torch.nn.Conv1d) for child in module.children())
        and not is_delta_net(module)
        and not is_short_conv(module)
    }
    return sorted(owners)
