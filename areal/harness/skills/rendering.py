# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Templates, conditions and command words over the inputs of a skill. An unknown name is an error, never an empty text."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from areal.harness.skills.definition import Definition, Step
from areal.harness.skills.problems import BrokenSkill

PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
FILES = ("changed", "changed_python", "changed_markdown", "generated_tests")
TEMPLATES = "templates"


def camel(text: str) -> str:
    """`two_words` as `TwoWords`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[_-]", text))


def words(text: str) -> str:
    """`two_words` as `two words`."""
    return re.sub(r"[_-]", " ", text)


def source(value: Any) -> str:
    """A value as Python source, strings in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


@functools.lru_cache(maxsize=32)
def environment(folder: Path) -> Environment:
    """The templates of a skill."""
    made = Environment(  # texts are source code, not HTML
        loader=FileSystemLoader(folder / TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    made.filters |= {"camel": camel, "words": words, "source": source}
    return made


class Renderer:
    """Renders the texts of one skill with one set of values."""

    def __init__(self, root: Path, definition: Definition, values: Mapping[str, Any]) -> None:
        self.environment = environment(root / definition.folder)
        self.where = definition.folder
        self.values = dict(values)
        for name, template in definition.derive.items():
            self.values[name] = self.text(template, f"derive.{name}")

    def text(self, template: str, where: str) -> str:
        """A short jinja text."""
        try:
            return self.environment.from_string(template).render(self.values)
        except TemplateError as error:
            raise self._broken(where, error) from None

    def file(self, template: str) -> str:
        """A template file of the skill."""
        try:
            return self.environment.get_template(template).render(self.values)
        except TemplateError as error:
            raise self._broken(f"{TEMPLATES}/{template}", error) from None

    def holds(self, condition: str) -> bool:
        """Whether a `when` holds; an empty one does."""
        if not condition:
            return True
        try:
            return bool(self.environment.compile_expression(condition, undefined_to_none=False)(**self.values))
        except TemplateError as error:
            raise self._broken(f"when: {condition}", error) from None

    def fill(self, text: str) -> str:
        """`{name}` replaced by the value of that name."""

        def replaced(match: re.Match[str]) -> str:
            if match[1] not in self.values:
                known = ", ".join(sorted(self.values))
                raise BrokenSkill(
                    f"{self.where}/skill.yaml: {{{match[1]}}} in {text!r} is none of {known}", code="S020"
                )
            return str(self.values[match[1]])

        return PLACEHOLDER.sub(replaced, text)

    def command(self, step: Step, files: Mapping[str, list[str]]) -> list[str]:
        """The words of a step; a word that is `{changed}` or the like becomes that many words (none: an empty list)."""
        out: list[str] = []
        for word in shlex.split(step.run):
            match = PLACEHOLDER.fullmatch(word)
            if match and match[1] in FILES:
                if not files[match[1]]:
                    return []
                out += files[match[1]]
            elif match and isinstance(self.values.get(match[1]), list):
                out += self.values[match[1]]
            elif match and isinstance(self.values.get(match[1]), dict):
                out.append(",".join(f"{key}:{value}" for key, value in self.values[match[1]].items()))
            elif filled := self.fill(word):  # an empty optional word is left out
                out.append(filled)
        return out

    def _broken(self, where: str, error: TemplateError) -> BrokenSkill:
        return BrokenSkill(f"{self.where}/{where}: {type(error).__name__}: {error}", code="S020")
