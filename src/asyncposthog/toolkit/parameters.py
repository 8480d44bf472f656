"""Parameters of tools, where the annotations of a function do not say enough."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["ParameterType", "ToolParameter"]


class ParameterType(Enum):
    """The JSON type of a parameter."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class ToolParameter:
    """A parameter of a tool, where the annotations of its function do not say enough."""

    name: str
    type: ParameterType
    description: str = ""
    required: bool = True
