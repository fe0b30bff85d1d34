# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A tool for workflows: exact arithmetic on text that a model wrote, without evaluating it as Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from fractions import Fraction

MAX_CHARS = 200
MAX_DIGITS = 30
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calculate(expression: str) -> str:
    """The value of sums, products and quotients of numbers; for anything else the text `error: ...`, for the model to read."""
    try:
        if len(expression) > MAX_CHARS:
            raise ValueError(f"longer than {MAX_CHARS} characters")
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except ZeroDivisionError:
        return "error: division by zero"
    except (ValueError, SyntaxError, RecursionError) as error:
        return f"error: {error.args[0] if error.args else 'not arithmetic'}"
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.6g}"


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        text = repr(node.value)
        if len(text) > MAX_DIGITS:
            raise ValueError("a number is too long")
        return Fraction(text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("expected numbers with + - * / and parentheses")
