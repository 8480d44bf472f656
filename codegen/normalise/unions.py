"""Unions in one form: a flat `anyOf` without repetitions, null last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .keywords import FLAGS, NULL, Schema, branches, is_null, split
from .walk import without_prose

__all__ = ["NOT_OBJECTS", "common_annotations", "discriminated", "may_be_discriminated", "union"]


NOT_OBJECTS: Final = "not every alternative is an object"


def union(cores: Iterable[Mapping[str, Any]]) -> Schema:
    """Return the core that allows what any of the cores allows.

    A union of no cores allows anything, as the empty core does.
    """
    alternatives: list[Schema] = []
    seen: list[Schema] = []
    nullable = False
    for core in cores:
        for branch in branches(core):
            if is_null(branch):
                nullable = True
            elif (plain := without_prose(branch)) not in seen:
                seen.append(plain)
                alternatives.append(branch)
    # The empty schema allows null as well.
    if nullable and {} not in alternatives:
        alternatives.append(dict(NULL))
    if len(alternatives) < 2:
        return alternatives[0] if alternatives else {}
    return {"anyOf": alternatives}


def may_be_discriminated(core: Schema) -> bool:
    """Whether each alternative except null is, or may be, an object."""
    variants = [branch for branch in branches(core) if not is_null(branch)]
    return all(branch.get("type", "object") == "object" and branch for branch in variants)


def discriminated(core: Schema, discriminator: Mapping[str, Any]) -> Schema:
    """Return a core as a discriminated union, with null outside it."""
    alternatives = branches(core)
    variants = [branch for branch in alternatives if not is_null(branch)]
    # A discriminator is a property, so every variant has to be an object.
    if not variants or not may_be_discriminated(core):
        return core
    built: Schema = {"oneOf": variants, "discriminator": dict(discriminator)}
    return union([built, NULL]) if len(variants) < len(alternatives) else built


def common_annotations(schemas: Iterable[Mapping[str, Any]]) -> tuple[Schema, list[str]]:
    """Return the annotations for a whole union, and the names of those that are lost.

    A flag that only some alternatives have does not apply to the union.
    """
    notes = [note for core, note in map(split, schemas) if not is_null(core)]
    if len(notes) == 1:
        return notes[0], []
    shared: Schema = {}
    lost: list[str] = []
    for flag in FLAGS:
        if notes and all(flag in note for note in notes):
            shared[flag] = True
        elif any(flag in note for note in notes):
            lost.append(flag)
    defaults = [note["default"] for note in notes if "default" in note]
    if defaults:
        shared["default"] = defaults[0]
        if any(value != defaults[0] for value in defaults):
            lost.append("default")
    return shared, lost
