"""The surface stage: resources and methods from a normalised document with overrides."""

from .build import ReleasedNames, build_surface
from .tree import Argument, Method, Resource, SkippedOperation, Surface
from .untyped import bare_json_methods, bare_json_share

__all__ = [
    "Argument",
    "Method",
    "ReleasedNames",
    "Resource",
    "SkippedOperation",
    "Surface",
    "bare_json_methods",
    "bare_json_share",
    "build_surface",
]
