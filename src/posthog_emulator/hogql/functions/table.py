"""The registry of functions, and how to register one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from posthog_emulator.hogql.operators import combined
from posthog_emulator.hogql.problems import HogQLError, illegal_type, wrong_arguments
from posthog_emulator.hogql.types import Type
from posthog_emulator.hogql.values import Value

if TYPE_CHECKING:
    from posthog_emulator.hogql.expressions import Expressions

__all__ = [
    "AGGREGATES", "FUNCTIONS", "SPECIAL", "Aggregate", "Call", "Function", "checked", "function",
    "simple", "special",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function, its arguments translated."""

    name: str
    arguments: Sequence[Value]
    parameters: Sequence[Value] = ()
    """What stands in the first of two pairs of parentheses."""
    now: datetime = datetime.min
    distinct: bool = False

    @property
    def text(self) -> str:
        """As HogQL writes it."""
        inner = ", ".join(value.text for value in self.arguments)
        outer = ", ".join(value.text for value in self.parameters)
        distinct = "DISTINCT " if self.distinct else ""
        return f"{self.name}{f'({outer})' if outer else ''}({distinct}{inner})"

    def make(self, sql: str, type: Type, *, nullable: bool | None = None) -> Value:
        """Return the value of the call; by default it is NULL if an argument is."""
        return combined(sql, type, self.text, *self.arguments, nullable=nullable)

    def constant(self, index: int, kind: type[Any], default: Any = None) -> Any:
        """Return an argument that has to be a constant.

        Raises:
            HogQLError: The argument is not a constant of that type.
        """
        if index >= len(self.arguments):
            return default
        value = self.arguments[index]
        if not isinstance(value.literal, kind):
            raise illegal_type(self.name, value.type, f"a constant {kind.__name__}")
        return value.literal


Maker: TypeAlias = Callable[[Call], Value]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of values."""

    least: int
    most: int | None
    make: Maker


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A function of many rows; `make` gets its arguments and a FILTER clause, perhaps empty."""

    least: int
    most: int | None
    make: Callable[[Call, str], Value]
    parameters: tuple[int, int] = (0, 0)
    """How many parameters it has, at least and at most."""


FUNCTIONS: Final[dict[str, Function]] = {}
"""By name."""
AGGREGATES: Final[dict[str, Aggregate]] = {}
"""By name, without `If` at its end."""
SPECIAL: Final[dict[str, Callable[[Expressions, str, list[Any]], Value]]] = {}
"""Functions whose arguments are no mere values: those of lambdas, for one."""


def function(*names: str, least: int, most: int | None = -1) -> Callable[[Maker], Maker]:
    """Enter a function under its names; `most` is `least` when left out."""

    def enter(make: Maker) -> Maker:
        for name in names:
            FUNCTIONS[name] = Function(least, least if most == -1 else most, make)
        return make

    return enter


SpecialMaker: TypeAlias = "Callable[[Expressions, str, list[Any]], Value]"


def special(*names: str) -> Callable[[SpecialMaker], SpecialMaker]:
    """Enter a function that translates its arguments itself."""

    def enter(make: SpecialMaker) -> SpecialMaker:
        for name in names:
            SPECIAL[name] = make
        return make

    return enter


_KINDS: Mapping[str, tuple[str, Callable[[Type], bool]]] = {
    "s": ("a String", lambda kind: kind.name == "String"),
    "n": ("a number", lambda kind: kind.is_number),
    "i": ("a whole number", lambda kind: kind.is_integer or kind.name == "Bool"),
    "d": ("a Date or DateTime", lambda kind: kind.is_day),
    "m": ("a DateTime", lambda kind: kind.is_moment),
    "a": ("an Array", lambda kind: kind.name == "Array"),
    "*": ("anything", lambda kind: True),
}


def checked(call: Call, kinds: str) -> None:
    """Check the types of arguments: `s` string, `n` number, `d` date or timestamp, `a` array….

    Raises:
        HogQLError: An argument has the wrong type.
    """
    for value, kind in zip(call.arguments, kinds, strict=False):
        wanted, fits = _KINDS[kind]
        if value.type.name != "Nothing" and not fits(value.type):
            raise illegal_type(call.name, value.type, wanted)


def simple(names: str, kinds: str, sql: str, type: Type, *, least: int | None = None) -> None:
    """Enter a function that is a template: `{0}` is the first argument.

    Args:
        names: Its names, with spaces between.
        kinds: The kinds of its arguments, a letter each.
        sql: The template.
        type: What it gives.
        least: How many arguments it needs; all by default.
    """

    def make(call: Call) -> Value:
        checked(call, kinds)
        parts = [
            v.number if k in "ni" else v.plain for v, k in zip(call.arguments, kinds, strict=False)
        ]
        return call.make(sql.format(*parts), type)

    count = len(kinds)
    for name in names.split():
        FUNCTIONS[name] = Function(count if least is None else least, count, make)


def check_count(name: str, given: int, least: int, most: int | None) -> None:
    """Check the number of arguments.

    Raises:
        HogQLError: The number is out of range.
    """
    if given < least or (most is not None and given > most):
        raise wrong_arguments(name, given, least, most)


def check_parameters(name: str, given: int, allowed: tuple[int, int]) -> None:
    """Check the number of parameters.

    Raises:
        HogQLError: The number is out of range.
    """
    if not allowed[0] <= given <= allowed[1]:
        raise HogQLError(
            f"Aggregation '{name}' expects {allowed[0]} to {allowed[1]} parameters, found {given}"
        )
