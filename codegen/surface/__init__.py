"""The surface stage: resources and methods from a normalised document with overrides."""

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
