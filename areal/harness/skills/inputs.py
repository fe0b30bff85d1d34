# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From `--set key=value` to checked inputs. A name that is not plain ASCII, a keyword or a path is refused here.

All problems of one call are reported together, each with the input that it is about.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from areal.harness.core.errors import UsageProblem
from areal.harness.refs.facts import only_close
from areal.harness.skills.definition import Definition, Input

IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*\Z", re.ASCII)
SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z", re.ASCII)
MAX_NAME = 40
MAX_SLUG = 64
MAX_TEXT = 500
MAX_ITEMS = 50
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
RESERVED_FILE_NAMES = {"con", "prn", "aux", "nul"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in range(10)
}


class _Bad(ValueError):
    """What is wrong with one value."""


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """`key=value` words as a mapping; `UsageProblem` for a word without `=` and for a key that comes twice."""
    found: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UsageProblem(f"--set {setting!r}: expected key=value", code="S004")
        if key in found:
            raise UsageProblem(f"--set {key}: given twice ({found[key]!r} and {value!r})", code="S005")
        found[key] = value
    return found


def check_inputs(definition: Definition, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all inputs, defaults filled in; one `UsageProblem` that lists everything that is wrong."""
    known = {spec.name: spec for spec in definition.inputs}
    problems = [_unknown(key, known) for key in given if key not in known]
    values: dict[str, Any] = {}
    for name, spec in known.items():
        if name not in given:
            if spec.required:
                problems.append(("S003", name, f"{name} is missing: {spec.help} ({spec.shape})"))
            values[name] = spec.default if spec.default is not None else _empty(spec)
            continue
        try:
            values[name] = _PARSERS[spec.type](spec, given[name])
        except _Bad as error:
            problems.append(("S004", name, f"{name}={_shown(given[name])}: {error}"))
    if problems:
        raise UsageProblem(
            "; ".join(text for _, _, text in problems),
            code=problems[0][0],
            next_action=f"areal skill show {definition.name}",
            problems=[{"code": code, "input": name, "message": text} for code, name, text in problems],
        )
    return values


def as_settings(definition: Definition, values: Mapping[str, Any]) -> list[str]:
    """The `--set` words that give these values again, without those that are defaults."""
    out = []
    for spec in definition.inputs:
        value = values[spec.name]
        if value == (spec.default if spec.default is not None else _empty(spec)):
            continue
        if isinstance(value, list):
            value = ",".join(value)
        elif isinstance(value, dict):
            value = ",".join(f"{key}:{item}" for key, item in value.items())
        out += ["--set", f"{spec.name}={str(value).lower() if isinstance(value, bool) else value}"]
    return out


def _unknown(key: str, known: Mapping[str, Input]) -> tuple[str, str, str]:
    close = only_close(key, known)
    hint = f"; did you mean {close}?" if close else ""
    return "S002", key, f"no input {key!r}{hint} There are: {', '.join(known) or 'none'}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _empty(spec: Input) -> Any:
    return {"bool": False, "int": 0, "list": [], "mapping": {}}.get(spec.type, "")


def _identifier(spec: Input, value: Any) -> str:
    text = str(value)
    if not IDENTIFIER.match(text) or len(text) > MAX_NAME:
        raise _Bad(f"expected a-z, 0-9 and single underscores, starting with a letter, at most {MAX_NAME} characters")
    if keyword.iskeyword(text) or keyword.issoftkeyword(text) or text in spec.reserved:
        raise _Bad("this word is reserved; choose another name")
    if text in RESERVED_FILE_NAMES:
        raise _Bad("no file can have this name on every system; choose another name")
    return text


def _slug(spec: Input, value: Any) -> str:
    text = str(value)
    if not SLUG.match(text) or len(text) > MAX_SLUG:
        raise _Bad(f"expected a-z, 0-9 and single hyphens, at most {MAX_SLUG} characters")
    if text in spec.reserved or text in RESERVED_FILE_NAMES:
        raise _Bad("this word is reserved; choose another name")
    return text


def _string(spec: Input, value: Any) -> str:
    text = str(value)
    if not text.isprintable():
        raise _Bad("expected one line of printable characters")
    if len(text) > (spec.max or MAX_TEXT):
        raise _Bad(f"expected at most {spec.max or MAX_TEXT} characters, got {len(text)}")
    if len(text) < (spec.min or 0):
        raise _Bad(f"expected at least {spec.min} characters, got {len(text)}")
    if spec.pattern and not re.fullmatch(spec.pattern, text, re.ASCII):
        raise _Bad(f"expected what matches {spec.pattern}")
    return text


def _enum(spec: Input, value: Any) -> str:
    text = str(value)
    if text not in spec.values:
        close = only_close(text, spec.values)
        raise _Bad(f"expected one of {', '.join(spec.values)}" + (f"; did you mean {close}?" if close else ""))
    return text


def _bool(spec: Input, value: Any) -> bool:
    text = str(value).lower()
    if text not in BOOLEANS:
        raise _Bad("expected true or false")
    return BOOLEANS[text]


def _int(spec: Input, value: Any) -> int:
    text = str(value)
    if not re.fullmatch(r"-?[0-9]{1,12}", text, re.ASCII):
        raise _Bad("expected a whole number")
    number = int(text)
    if (spec.min is not None and number < spec.min) or (spec.max is not None and number > spec.max):
        raise _Bad(f"expected a number in {spec.shape.removeprefix('int ')}")
    return number


def _path(spec: Input, value: Any) -> str:
    text = _string(Input(name=spec.name, type="string", help=spec.help), value)
    path = Path(text).expanduser()
    if not path.exists():
        raise _Bad("no such file or folder")
    return str(path.resolve())


def _list(spec: Input, value: Any) -> list[str]:
    items = value if isinstance(value, list) else str(value).split(",")
    out = [_string(spec, str(item).strip()) for item in items]
    if not all(out) or len(out) > MAX_ITEMS:
        raise _Bad(f"expected at most {MAX_ITEMS} values separated by commas, none empty")
    if len(set(out)) != len(out):
        raise _Bad("a value is there twice")
    return out


def _mapping(spec: Input, value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else [part.partition(":")[::2] for part in str(value).split(",")]
    out: dict[str, str] = {}
    for key, item in pairs:
        key, item = str(key).strip(), _string(spec, str(item).strip())
        if not key or not item or key in out:
            raise _Bad("expected key:value pairs separated by commas, each key once")
        if spec.values and key not in spec.values:
            raise _Bad(f"{key!r} is none of {', '.join(spec.values)}")
        out[key] = item
    return out


_PARSERS: dict[str, Callable[[Input, Any], Any]] = {
    "identifier": _identifier,
    "slug": _slug,
    "string": _string,
    "enum": _enum,
    "bool": _bool,
    "int": _int,
    "path": _path,
    "list": _list,
    "mapping": _mapping,
}
