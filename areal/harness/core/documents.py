# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""YAML, TOML and Markdown sources of the harness, read with their JSON Schema; violations are findings with a line.

Every reader of the harness goes through here, so that a broken file gives the same message everywhere and never a
traceback. Schemas live in `.agents/schemas/<name>.schema.json`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from areal.harness.core.errors import UsageProblem
from areal.harness.core.findings import Finding

SCHEMA_FOLDER = Path(".agents/schemas")
FRONT_MATTER = re.compile(r"\A---\n(.*?\n)?---\n", re.DOTALL)
SCHEMA_CODE = "H010"


@dataclass(frozen=True)
class Document:
    """A parsed source: its data, the Markdown body if it has one, and the line of each key path."""

    path: Path  # relative to the repository
    data: Any
    body: str = ""
    body_line: int = 1
    text: str = ""
    first_line: int = 1  # of the YAML within the file

    def line_of(self, *keys: str | int) -> int:
        """The line of the value at a path of keys; of the deepest one that exists."""
        text = self.text
        match = FRONT_MATTER.match(text)
        if match and self.path.suffix == ".md":
            text = match.group(1) or ""
        return self.first_line + _line_in(yaml.compose(text, Loader=SAFE_LOADER), keys)


SAFE_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def _line_in(node: yaml.Node | None, keys: tuple[str | int, ...]) -> int:
    line = 0
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line
        else:
            break
    return line


def read_text(root: Path, path: Path) -> str:
    """The text of a file of the repository; a missing or undecodable file is a `UsageProblem`."""
    try:
        return (root / path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageProblem(f"{path} does not exist", code="missing_file", file=str(path)) from None
    except (UnicodeDecodeError, OSError) as error:
        raise UsageProblem(f"{path} cannot be read: {error}", code="unreadable", file=str(path)) from None


def parse_yaml(text: str, path: Path, first_line: int = 1) -> Any:
    """The data of a YAML text; a syntax error and a duplicate key are a `UsageProblem` with file and line."""
    try:
        node = yaml.compose(text, Loader=SAFE_LOADER)
        duplicate = next(_duplicate_keys(node), None)
        if duplicate is not None:
            line = first_line + duplicate.start_mark.line
            raise UsageProblem(
                f"{path}:{line}: key {duplicate.value!r} is there twice", code="yaml", file=str(path), line=line
            )
        return yaml.load(text, Loader=SAFE_LOADER)
    except yaml.MarkedYAMLError as error:
        line = first_line + (error.problem_mark.line if error.problem_mark else 0)
        raise UsageProblem(
            f"{path}:{line}: not valid YAML: {error.problem}", code="yaml", file=str(path), line=line
        ) from None
    except yaml.YAMLError as error:
        raise UsageProblem(f"{path}: not valid YAML: {error}", code="yaml", file=str(path)) from None


def _duplicate_keys(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
                yield key
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
            yield from _duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _duplicate_keys(child)


def read_yaml(root: Path, path: Path, schema: str | None = None) -> Document:
    """A YAML file as a `Document`; with `schema`, the first violation is a `UsageProblem` (use `violations` to list all)."""
    text = read_text(root, path)
    document = Document(path, parse_yaml(text, path), text=text)
    if schema is not None:
        _raise_first(root, document, schema)
    return document


def read_markdown(root: Path, path: Path, schema: str | None = None) -> Document:
    """A Markdown file with YAML front matter (which may be absent: then the data is `{}`)."""
    text = read_text(root, path).replace("\r\n", "\n")
    match = FRONT_MATTER.match(text)
    if match is None:
        document = Document(path, {}, body=text, text=text)
    else:
        data = parse_yaml(match.group(1) or "", path, first_line=2)
        body = text[match.end() :]
        document = Document(path, {} if data is None else data, body, text[: match.end()].count("\n") + 1, text, 2)
    if schema is not None:
        _raise_first(root, document, schema)
    return document


def _raise_first(root: Path, document: Document, schema: str) -> None:
    for finding in violations(root, document, schema):
        raise UsageProblem(
            f"{finding.place}: {finding.message}", code=finding.code, file=finding.file, line=finding.line
        )


@functools.cache
def load_schema(root: Path, name: str) -> Mapping[str, Any]:
    """The JSON Schema `.agents/schemas/<name>.schema.json`."""
    path = SCHEMA_FOLDER / f"{name}.schema.json"
    try:
        return json.loads(read_text(root, path))
    except json.JSONDecodeError as error:
        raise UsageProblem(f"{path}:{error.lineno}: not valid JSON: {error.msg}", code="json", file=str(path)) from None


@functools.cache
def _validator(root: Path, name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(load_schema(root, name))


def violations(root: Path, document: Document, schema: str, code: str = SCHEMA_CODE) -> list[Finding]:
    """Every way in which a document breaks its schema, each with the line of the offending value."""
    return check_data(root, document.data, document.path, schema, document.line_of, code)


def check_data(
    root: Path, data: Any, path: Path, schema: str, line_of: Any = lambda *keys: 0, code: str = SCHEMA_CODE
) -> list[Finding]:
    """Like `violations` for data from anywhere; `line_of(*keys)` gives a line."""
    found = []
    for error in sorted(
        _validator(root, schema).iter_errors(data), key=lambda error: list(map(str, error.absolute_path))
    ):
        keys = list(error.absolute_path)
        where = ".".join(map(str, keys)) or "top level"
        message = f"{where}: {error.message} ({SCHEMA_FOLDER}/{schema}.schema.json)"
        found.append(Finding(code=code, message=message, file=path.as_posix(), line=line_of(*keys)))
    return found
