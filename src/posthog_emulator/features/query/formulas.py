"""Formulas over the series of trends."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from posthog_emulator.http.errors import invalid

__all__ = ["Formula"]

_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: math.pow,
}
_LONGEST: Final = 1000


class Formula:
    """A formula: letters for series, numbers, `+ - * / % **` and brackets.

    Args:
        text: The formula.
        count: The number of series.

    Raises:
        ApiError: 400, it is no formula of so many series.
    """

    def __init__(self, text: str, count: int) -> None:
        self._text = text
        self._count = count
        try:
            if len(text) > _LONGEST:
                raise ValueError
            self._tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
            self._check(self._tree)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            raise invalid(
                f"{text!r} is no formula. Use the letters of the series, numbers, + - * / and "
                "brackets."
            ) from None

    def value(self, series: Sequence[float]) -> float:
        """Return the value for a point of all series; 0 where there is none, as of 1 / 0."""
        try:
            return self._of(self._tree, series)
        except (ArithmeticError, ValueError):
            return 0

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
                self._check(left)
                self._check(right)
            case ast.UnaryOp(ast.USub() | ast.UAdd(), operand):
                self._check(operand)
            case ast.Constant(int() | float() as value) if not isinstance(value, bool):
                float(value)
            case ast.Name(letter) if len(letter) == 1 and 0 <= _place(letter) < self._count:
                pass
            case _:
                raise ValueError(ast.dump(node))

    def _of(self, node: ast.expr, series: Sequence[float]) -> float:
        match node:
            case ast.BinOp(left, op, right):
                return _OPERATORS[type(op)](self._of(left, series), self._of(right, series))
            case ast.UnaryOp(op, operand):
                value = self._of(operand, series)
                return -value if isinstance(op, ast.USub) else value
            case ast.Name(letter):
                return series[_place(letter)]
            case ast.Constant(int() | float() as value):
                return value
            case _:
                raise AssertionError("formulas are checked before they are computed")


def _place(letter: str) -> int:
    return ord(letter.upper()) - ord("A")
