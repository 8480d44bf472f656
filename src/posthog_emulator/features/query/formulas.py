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
            self.value([0.0] * count)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise invalid(
                f"{text!r} is no formula. Use the letters of the series, numbers, + - * / and "
                "brackets."
            ) from None

    def value(self, series: Sequence[float]) -> float:
        """Return the value for a point of all series; 0 where it divides by 0."""
        try:
            return self._of(self._tree, series)
        except (ZeroDivisionError, OverflowError):
            return 0

    def _of(self, node: ast.expr, series: Sequence[float]) -> float:
        match node:
            case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](self._of(left, series), self._of(right, series))
            case ast.UnaryOp(ast.USub(), operand):
                return -self._of(operand, series)
            case ast.UnaryOp(ast.UAdd(), operand):
                return self._of(operand, series)
            case ast.Constant(int() | float() as value) if not isinstance(value, bool):
                return value
            case ast.Name(letter) if len(letter) == 1:
                place = ord(letter.upper()) - ord("A")
                if not 0 <= place < self._count:
                    raise ValueError(letter)
                return series[place]
            case _:
                raise ValueError(ast.dump(node))
