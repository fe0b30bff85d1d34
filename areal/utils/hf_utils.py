# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Hugging Face tokenizers, loaded so that their ids are those of the files, and chat templates as plain id lists.

Called by the driver script, by workers that need text and by dataset loaders. Must never let a tokenizer through that
splits text differently from its own `tokenizer.json`: prompts would be nonsense to the model, without any error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = getLogger("hf_utils")

Messages = Sequence[Mapping[str, Any]]

_PROBES = (
    "Tom has 12 apples. Tom buys 345 more. How many apples does Tom have now?",
    "12+345=357\n#### 357",
    "def f(x):\n\treturn x ** 2  # don't\n\n",
    "naïve café 東京 🙂 x²≤10¹⁰",
    " leading,  double  and trailing spaces ",
)
"""Texts on which a loaded tokenizer must agree with its tokenizer.json: digits, spaces, lines, code, non-ASCII."""


def load_hf_tokenizer(
    path: str | Path, fast_tokenizer: bool = True, padding_side: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub id or local directory (cached); without a pad token, eos becomes the pad token.

    `AutoTokenizer` of transformers 5 builds its own tokenizer for some model types (qwen2 among them) and ignores a custom
    `tokenizer.json`; when the two disagree, the file is loaded as it is, and a warning says so. `ConfigError` when there is
    no tokenizer at `path`.
    """
    return _load(str(path), fast_tokenizer, padding_side)


@lru_cache(maxsize=8)
def _load(path: str, fast_tokenizer: bool, padding_side: str | None) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    options: dict[str, Any] = {} if padding_side is None else {"padding_side": padding_side}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=fast_tokenizer, **options)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"expected a tokenizer (hub id or directory) at {path!r}, got: {error}; check tokenizer_path and actor.path"
        ) from error
    if probe := _disagreement(tokenizer, path):
        logger.warning(
            "AutoTokenizer built %s for %s, which does not split %r as its tokenizer.json does; "
            "loading the file with PreTrainedTokenizerFast instead",
            type(tokenizer).__name__,
            path,
            probe,
        )
        tokenizer = PreTrainedTokenizerFast.from_pretrained(path, **options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep the bars of transformers for reading and writing weights out of logs; bars of downloads, which take minutes, stay."""
    from transformers.utils.logging import set_tqdm_hook

    previous = set_tqdm_hook(lambda make_bar, args, kwargs: make_bar(*args, **{**kwargs, "disable": True}))
    try:
        yield
    finally:
        set_tqdm_hook(previous)


def _disagreement(tokenizer: PreTrainedTokenizerBase, path: str) -> str | None:
    """A text on which the tokenizer and the `tokenizer.json` of `path` differ; None without one, or without the file."""
    from tokenizers import Tokenizer
    from transformers.utils import cached_file

    file = cached_file(path, "tokenizer.json", _raise_exceptions_for_missing_entries=False)
    if file is None:
        return None
    exact = Tokenizer.from_file(file)
    exact.no_padding()
    exact.no_truncation()
    for probe in _PROBES:
        if tokenizer(probe, add_special_tokens=False)["input_ids"] != exact.encode(probe, add_special_tokens=False).ids:
            return probe
    return None


@overload
def apply_chat_template(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, *, tokenize: Literal[True] = True, **kwargs: Any
) -> list[int]: ...
@overload
def apply_chat_template(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, *, tokenize: Literal[False], **kwargs: Any
) -> str: ...
def apply_chat_template(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    tokenize: bool = True,
    **kwargs: Any,
) -> list[int] | str:
    """The conversation in the tokenizer's chat format: a list of ids (a string with `tokenize=False`).

    transformers 5 would return a dict for `tokenize=True`. `kwargs` go to the template (`add_generation_prompt`,
    `enable_thinking`, `tools`, ...).
    """
    if tokenize:
        kwargs["return_dict"] = False
    # An `Any`: transformers types every combination of its options in one union.
    rendered: Any = tokenizer.apply_chat_template([dict(message) for message in messages], tokenize=tokenize, **kwargs)
    return rendered
