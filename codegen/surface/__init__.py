"""The surface stage: a normalised, patched document to resources and methods."""

from .build import ReleasedNames, build_surface
from .tree import Argument, Method, Resource, SkippedOperation, Surface

__all__ = [
    "Argument",
    "Method",
    "ReleasedNames",
    "Resource",
    "SkippedOperation",
    "Surface",
    "build_surface",
]
