# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the source of a family package from its description: nodes become expressions, templates do the rest.

Rendered text is formatted by ruff afterwards; nothing here measures or decides anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from areal.experimental.models.archon import model_args
from areal.experimental.models.archon.model_args import AttentionArgs, NormArgs, RopeArgs
from areal.experimental.models.archon.scaffold.adapter_source import rule_lines
from areal.experimental.models.archon.scaffold.explain import Choice, Leaf, Node, Struct, is_default
from areal.experimental.models.archon.scaffold.relate import HEADS, Family, RopeDescription

ARCHON = "areal.experimental.models.archon"
LICENCE = "# Copyright 2026 The areal authors\n# SPDX-License-Identifier: Apache-2.0"
_HF_CALL = re.compile(r'hf\("(\w+)"(?:, None)?\)')
_ACTIVATION = re.compile(r'activation\(hf(?:, "(\w+)")?\)')
_RESERVED = {"norm", "heads", "hf", "i", "layers", "args", "activation"}
_HF_CONFIG = ("activation", "decoder_fields", "head_fields", "rounded_up", "yarn_score_factor")


@dataclass(frozen=True)
class Names:
    """What a family is called: package, class prefix, `model_type`, HF classes, and the package that holds it."""

    name: str
    prefix: str
    title: str
    model_type: str
    config_class: str
    architecture: str
    home: str


class FamilySource:
    """All files of a package as text, by path."""

    def __init__(self, names: Names, family: Family) -> None:
        self.names, self.family = names, family
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
        )

    def files(self) -> dict[str, str]:
        """Path below the package → text."""
        title = self.names.title
        return {
            "__init__.py": self.render("package", summary=f"{title}: see `spec.py`."),
            "spec.py": self.render("spec"),
            "model/__init__.py": self.render("package", summary=f"What a {title} is made of."),
            "model/args.py": self._args(),
            "model/model.py": self.render("model"),
            "model/rope.py": self._rope(),
            "model/state_dict_adapter.py": self._adapter(),
            "infra/__init__.py": self.render("package", summary=f"How a {title} is made parallel."),
            "infra/parallelize.py": self.render("parallelize"),
        }

    def render(self, template: str, **values: object) -> str:
        """One template with the names of the family."""
        text = self.templates.get_template(f"{template}.py.jinja").render(
            licence=LICENCE, **self.names.__dict__, **values
        )
        return text.rstrip() + "\n"

    def _args(self) -> str:
        family = self.family
        functions, call = self._layer_functions()
        model_codes = [
            f"{name}={emit(node)}" for name, node in family.model_fields.items() if not _is_neutral(name, node)
        ]
        if family.uses_decoder_fields:
            model_codes.insert(0, "**decoder_fields(hf, is_critic)")
        else:
            model_codes = [
                re.sub(r"^tie_embeddings=(.*)$", r"tie_embeddings=(\1) and not is_critic", c) for c in model_codes
            ]
            model_codes.append("is_critic=is_critic")
        model_codes.append(f"layers={call}")
        if family.rope is not None:
            model_codes.append("ropes=ropes(hf)")
        checks = self._checks()
        body = "\n".join([*functions, *model_codes, *checks])
        imports = [f"from {ARCHON}.base import BaseModelArgs", f"from {ARCHON}.hf_fields import HFFields, reading"]
        if used := [n for n in _HF_CONFIG if re.search(rf"\b{n}\(", body)]:
            imports.append(f"from {ARCHON}.hf_config import {', '.join(used)}")
        if family.rope is not None:
            imports.append(f"from {self.names.home}.model.rope import ropes")
        classes = [n for n in vars(model_args) if n.endswith("Args") and re.search(rf"\b{n}\b", body)]
        imports.append(f"from {ARCHON}.model_args import {', '.join(sorted({*classes, 'DecoderArgs', 'LayerArgs'}))}")
        return self.render(
            "args",
            imports="\n".join(sorted(imports)),
            checks=checks,
            locals=[],
            decoder=",\n                ".join(model_codes) + ",",
            functions=functions,
        )

    def _layer_functions(self) -> tuple[list[str], str]:
        """The functions that make a layer, and the expression for all layers."""
        layer = self.family.layer
        assert isinstance(layer, Struct)
        mixer, ffn = layer.fields["mixer"], layer.fields["ffn"]
        norm = next((n for n in layer.fields.values() if _is_norm(n)), None)
        parts = {"mixer": self._function("_mixer", mixer), "ffn": self._function("_feed_forward", ffn)}
        calls = {
            name: f"{'_mixer' if name == 'mixer' else '_feed_forward'}({_arguments(text)})"
            for name, text in parts.items()
        }
        fields = {n: Leaf(calls[n]) if n in calls else node for n, node in layer.fields.items()}
        text = emit(Struct(layer.cls, fields))
        lines = []
        if norm is not None:
            shared = emit(norm)
            if text.count(shared) > 1 and not re.search(r"\bi\b", shared):
                text, lines = text.replace(shared, "norm"), [f"norm = {shared}"]
        whole = self._wrap("_layer", "LayerArgs", lines, text, "One block.")
        depth = f'hf("{self.family.depth}")'
        call = f"tuple(_layer(hf, i) for i in range({depth}))" if "i: int" in whole else f"(_layer(hf),) * {depth}"
        return [whole, *parts.values()], call

    def _function(self, name: str, node: Node) -> str:
        kinds = sorted({cls.__name__ for cls in _classes_of(node)})
        summary = "How tokens mix." if name == "_mixer" else "The feed-forward of a block."
        lines = ["heads = head_fields(hf)"] if name == "_mixer" and self.family.uses_head_fields else []
        heads = self.family.uses_head_fields
        return self._wrap(name, " | ".join(kinds), lines, emit(node, uses_head_fields=heads), summary)

    def _wrap(self, name: str, returns: str, lines: Sequence[str], expression: str, summary: str) -> str:
        """A function; fields that are read more than once, or only sometimes, become local names that are always read."""
        hoisted: dict[str, str] = {}
        calls = [match.group(0) for match in _HF_CALL.finditer(expression)]
        if " if " in expression or len(calls) > len(set(calls)) or " and " in expression or " or " in expression:
            for match in _HF_CALL.finditer(expression):
                hoisted[match.group(0)] = _local(match.group(1))
            for match in _ACTIVATION.finditer(expression):
                hoisted[match.group(0)] = _local(match.group(1) or "hidden_act")
        for code, local in hoisted.items():
            expression = expression.replace(code, local)
        body = [*(f"{local} = {code}" for code, local in hoisted.items()), *lines]
        index = ", i: int" if re.search(r"\bi\b", expression) else ""
        text = "".join(f"    {line}\n" for line in body)
        return f'def {name}(hf: HFFields{index}) -> {returns}:\n    """{summary}"""\n{text}    return {expression}'

    def _checks(self) -> list[str]:
        family = self.family
        lines = [
            f'hf.expect("{name}", {", ".join(map(repr, values))})' for name, values in family.expected.items() if values
        ]
        lines += [f'hf.expect_each("{name}", {", ".join(map(repr, v))})' for name, v in family.expected_each.items()]
        lines += [f'hf.expect("{name}", hf("{other}"))' for name, other in family.tied.items()]
        if family.required:
            lines.append(f"hf.require({', '.join(map(_quoted, family.required))})")
        if family.ignored:
            names = ", ".join(f'"{name}"' for name in sorted(family.ignored))
            lines.append(f"hf.ignore({names})  # no influence on logits at any value that was tried")
        return lines

    def _rope(self) -> str:
        rope = self.family.rope
        if rope is None:
            imports = [f"from {ARCHON}.hf_fields import HFFields", f"from {ARCHON}.model_args import RopeArgs"]
            return self.render("rope", imports="\n".join(imports), summary="No positions.", body=["return {}"])
        if rope.theta is not None:
            return self._own_rope(rope)
        head_dim, style = emit(rope.head_dim), emit(rope.style)
        head_dim = head_dim.replace('heads["head_dim"]', 'head_fields(hf)["head_dim"]')
        style_code = "" if style == '"half"' else f", {style}"
        if rope.read_elsewhere:
            style_code += f", read_elsewhere=({', '.join(map(_quoted, rope.read_elsewhere))},)"
        if rope.fixed_alpha:
            style_code += ", fixed_alpha=True"
        body = [f"tables = rope_tables(hf, {head_dim}{style_code})"]
        used = ["rope_tables"]
        if "head_fields" in head_dim:
            used.append("head_fields")
        if rope.whole_heads:
            used.append("expect_whole_heads")
            body.append("expect_whole_heads(tables)")
        if rope.kinds is not None:
            used.append("expect_rope_kinds")
            body.append(f"expect_rope_kinds(tables, {', '.join(map(_quoted, rope.kinds))})")
        imports = [
            f"from {ARCHON}.hf_fields import HFFields",
            f"from {ARCHON}.hf_config import {', '.join(sorted(used))}",
            f"from {ARCHON}.model_args import RopeArgs",
        ]
        changes = {}
        if rope.rotary_dim is not None:
            changes["rotary_dim"] = emit(rope.rotary_dim).replace('heads["head_dim"]', 'head_fields(hf)["head_dim"]')
        if emit(rope.is_reversed) != "False":
            changes["is_reversed"] = emit(rope.is_reversed)
        if changes:
            imports.insert(0, "from dataclasses import replace\n")
            body += [f"{name} = {code}" for name, code in changes.items() if name == "rotary_dim"]
            codes_of = ", ".join(f"{n}={n if n == 'rotary_dim' else code}" for n, code in changes.items())
            body.append(f"return {{name: replace(table, {codes_of}) for name, table in tables.items()}}")
        else:
            body.append("return tables")
        if len(body) == 2 and body[1] == "return tables":
            body = [body[0].replace("tables = ", "return ")]
        style_words = f", {style.strip(chr(34))} style" if isinstance(rope.style, Leaf) else ""
        summary = f"The tables of `rope_parameters`{style_words}."
        return self.render("rope", imports="\n".join(imports), summary=summary, body=body)

    def _own_rope(self, rope: RopeDescription) -> str:
        """A table that is not described by `rope_parameters`."""
        assert rope.theta is not None and rope.rotary_dim is not None
        nodes = {
            "theta": rope.theta,
            "rotary_dim": rope.rotary_dim,
            "style": rope.style,
            "is_reversed": rope.is_reversed,
        }
        codes_of = {n: emit(node) for n, node in nodes.items() if not is_default(RopeArgs, n, node)}
        arguments = ", ".join(f"{n}={code}" for n, code in codes_of.items())
        arguments = arguments.replace('heads["head_dim"]', 'head_fields(hf)["head_dim"]')
        imports = [f"from {ARCHON}.hf_fields import HFFields", f"from {ARCHON}.model_args import RopeArgs"]
        if "head_fields" in arguments:
            imports.append(f"from {ARCHON}.hf_config import head_fields")
        body = [f'return {{"default": RopeArgs({arguments})}}']
        return self.render("rope", imports="\n".join(sorted(imports)), summary="The only table.", body=body)

    def _adapter(self) -> str:
        lines, imports = rule_lines(self.family.rules, ARCHON, self.family.rule_conditions)
        return self.render(
            "state_dict_adapter",
            imports="\n".join(imports),
            rules=lines,
            uses_mixer="mixer." in "".join(lines),
            uses_nets="net." in "".join(lines),
        )


def emit(node: Node, uses_head_fields: bool = False) -> str:
    """Source of a node."""
    if isinstance(node, Leaf):
        return node.code
    if isinstance(node, Choice):
        then, other = emit(node.then, uses_head_fields), emit(node.other, uses_head_fields)
        return f"({then} if {node.predicate} else {other})"
    parts = []
    names = list(node.fields)
    if uses_head_fields and node.cls is AttentionArgs:
        parts.append("**heads")
        names = [name for name in names if name not in HEADS]
    parts += [
        f"{name}={emit(node.fields[name], uses_head_fields)}"
        for name in names
        if not is_default(node.cls, name, node.fields[name])
    ]
    return f"{node.cls.__name__}({', '.join(parts)})"


def _local(field: str) -> str:
    """The local name of a field that hides none of the names around it."""
    return f"{field}_" if field in _RESERVED else field


def _arguments(function: str) -> str:
    return "hf, i" if "i: int" in function.splitlines()[0] else "hf"


def _is_norm(node: Node) -> bool:
    return isinstance(node, Struct) and node.cls is NormArgs


def _is_neutral(name: str, node: Node) -> bool:
    return name in ("embedding", "head") and isinstance(node, Struct) and emit(node).endswith("Args()")


def _classes_of(node: Node) -> Iterable[type]:
    if isinstance(node, Struct):
        yield node.cls
    elif isinstance(node, Choice):
        yield from _classes_of(node.then)
        yield from _classes_of(node.other)


def _quoted(text: str) -> str:
    return f'"{text}"'
