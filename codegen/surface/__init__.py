"""The surface stage: a normalised, patched document to resources and methods."""

from .build import Released, build_surface
from .tree import Argument, Method, Resource, SkippedOperation, Surface

__all__ = [
    "Argument",
    "Method",
    "Released",
    "Resource",
    "SkippedOperation",
    "Surface",
    "build_surface",
]
