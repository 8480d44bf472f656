"""The surface stage: a normalised, patched document to resources and methods."""

from .build import Released, build_surface
from .tree import Argument, LeftOut, Method, Resource, Surface

__all__ = [
    "Argument",
    "LeftOut",
    "Method",
    "Released",
    "Resource",
    "Surface",
    "build_surface",
]
