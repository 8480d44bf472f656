"""Normalise schemas and components one by one.

Discriminators are only copied: completing them requires all components (see `discriminators`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from codegen.diagnostics import FIX_DOCUMENT, Diagnostic, SchemaError
from codegen.json_access import (
    MISSING,
    as_mapping,
    as_sequence,
    as_text,
    join_pointer,
    lookup,
    split_pointer,
)
from codegen.json_schema import COMPONENT_PREFIX
from codegen.naming import new_component_name, valid_component_names

from .keywords import BLANK, FLAGS, NULL, PROSE, UNSUPPORTED, Schema, is_null, split
from .merge import Merger
from .split_by_type import split_by_type
from .unions import NOT_OBJECTS, common_annotations, discriminated, may_be_discriminated, union
from .walk import direct_references

__all__ = ["SchemaNormaliser"]

_NESTING = frozenset({"additionalProperties", "items", "prefixItems", "properties"})


class SchemaNormaliser:
    """Normalises the schemas of one document and collects diagnostics."""

    def __init__(
        self, document: Mapping[str, Any], *, legacy: bool = False, keep_prose: bool = False
    ) -> None:
        self.legacy = legacy
        self.diagnostics: set[Diagnostic] = set()
        self._document = document
        self._keep_prose = keep_prose
        holder = as_mapping(document.get("components", {}), "/components")
        raw = as_mapping(holder.get("schemas", {}), "/components/schemas")
        # Everything below uses the valid names; pointers use the names in the document.
        self._valid_names = valid_component_names(raw)
        self._raw = {self._valid_names[name]: schema for name, schema in raw.items()}
        self._pointers = {
            self._valid_names[name]: join_pointer("/components/schemas", name) for name in raw
        }
        self._promoted_names: dict[str, str] = {}
        self._components: dict[str, Schema] = {}
        self._in_progress: set[str] = set()
        self._merger = Merger(self)
        for name, plain in self._valid_names.items():
            if name != plain:
                pointer = join_pointer("/components/schemas", name)
                self.report(pointer, f"this is not a valid component name; it is called {plain!r}")

    def report(self, pointer: str, reason: str) -> None:
        """Report something that cannot be represented."""
        self.diagnostics.add(Diagnostic(pointer, reason))

    def components(self) -> dict[str, Schema]:
        """Return all components except those that mean null or blank, which are inlined."""
        pending = sorted(self._raw)
        while pending:
            for name in pending:
                self._component(name)
            # A reference into the middle of a schema adds a component.
            pending = sorted(self._raw.keys() - self._components.keys())
        return {
            name: schema
            for name, schema in self._components.items()
            if self._constant(name) is None
        }

    def resolve(self, reference: str) -> Schema | None:
        """Return the normalised component of a reference, or None if it is being normalised."""
        return self._component(reference.removeprefix(COMPONENT_PREFIX))

    def normalise(self, raw: Any, pointer: str) -> Schema:
        """Return the normalised form of a schema."""
        if raw is True:
            return {}
        if raw is False:
            self.report(pointer, "a schema that allows no value; it is read as any value")
            return {}
        raw_schema = as_mapping(raw, pointer)
        parts, nullable = self._parts(raw_schema, pointer)
        non_null = [part for part in parts if not is_null(split(part)[0])]
        if non_null and len(non_null) < len(parts):
            # drf-spectacular marks a reference as nullable by `allOf: [$ref, {type: null}]`, which
            # taken literally allows no value at all.
            nullable, parts = True, non_null
        notes: Schema = {}
        core: Schema = {}
        for part in parts:
            inner, part_notes = split(part)
            notes |= part_notes
            both = self._merger.intersect(core, inner, pointer)
            if both is None:
                self.report(pointer, "no value matches all its parts; the first ones are kept")
            else:
                core = both
        if nullable:
            core = union([core, NULL])
        notes |= self._annotations(raw_schema, pointer)
        # 1.0 is an integer in JSON, but generated code would show a float.
        if core.get("type") == "integer" and isinstance(notes.get("default"), float):
            notes["default"] = int(notes["default"])
        return core | notes

    def reference(self, target: Any, pointer: str) -> Schema:
        """Return a normalised reference, or the constant that its target means.

        Raises:
            SchemaError: The target is missing, or outside the document.
        """
        text = as_text(target, pointer)
        if not text.startswith("#/"):
            reason = f"it refers to {text!r}, outside the document"
            raise SchemaError(f"#{pointer}", reason, "Bundle the document into one file first")
        path = split_pointer(text)
        if lookup(self._document, path) is MISSING:
            reason = f"it refers to {text!r}, which is not in the document"
            raise SchemaError(f"#{pointer}", reason, FIX_DOCUMENT)
        whole = path[:2] == ("components", "schemas") and len(path) == 3
        name = self._valid_names[path[2]] if whole else self._promote_inner_schema(text, path)
        constant = self._constant(name)
        return {"$ref": COMPONENT_PREFIX + name} if constant is None else constant

    def _component(self, name: str) -> Schema | None:
        if name not in self._components:
            if name in self._in_progress:
                return None
            self._in_progress.add(name)
            pointer = self._pointers[name]
            if self._contains_itself(split_pointer(pointer)):
                self.report(pointer, "it is a part of itself; it is read as any value")
                self._components[name] = {}
            else:
                self._components[name] = self.normalise(self._raw[name], pointer)
            self._in_progress.discard(name)
        return self._components[name]

    def _promote_inner_schema(self, target: str, path: tuple[str, ...]) -> str:
        """Make a component of a schema inside another one; return its name."""
        key = "/".join(path)
        if key not in self._promoted_names:
            structure = {"$defs", "components", "definitions", "items", "properties", "schemas"}
            name = new_component_name(
                [token for token in path if token not in structure], self._raw
            )
            self._promoted_names[key] = name
            self._raw[name] = lookup(self._document, path)
            self._pointers[name] = join_pointer("", *path)
        return self._promoted_names[key]

    def _constant(self, name: str) -> Schema | None:
        """Return the null or blank schema if a component means only that, else None."""
        # Normalising every component here would recurse through the whole document.
        if not _is_shallow(self._raw[name]):
            return None
        core, _ = split(self._component(name) or {})
        return core if core in (NULL, BLANK) else None

    def _contains_itself(self, path: tuple[str, ...]) -> bool:
        """Whether the schema at `path` is an alternative or an `allOf` part of itself."""
        seen: set[tuple[str, ...]] = set()
        pending = [path]
        while pending:
            for target in direct_references(lookup(self._document, pending.pop())):
                if (target_path := split_pointer(target)) == path:
                    return True
                if target_path not in seen:
                    seen.add(target_path)
                    pending.append(target_path)
        return False

    def _parts(self, raw: Mapping[str, Any], pointer: str) -> tuple[list[Schema], bool]:
        """Return the schemas that a value has to match, and whether null is allowed as well."""
        nullable = raw.get("nullable") is True
        parts: list[Schema] = []
        if "$ref" in raw:
            parts.append(self.reference(raw["$ref"], join_pointer(pointer, "$ref")))
            if self.legacy:
                silent = {"$ref", "nullable", "example", *PROSE}
                ignored = sorted(key for key in raw.keys() - silent if key[:2] != "x-")
                if ignored:
                    names = ", ".join(ignored)
                    self.report(pointer, f"OpenAPI 3.0 ignores keys beside a $ref: {names}")
                return parts, nullable
        for key in sorted(UNSUPPORTED & raw.keys()):
            self.report(join_pointer(pointer, key), f"`{key}` cannot be represented; it is dropped")
        if type_cores := split_by_type(raw, pointer, self):
            parts.append(union(type_cores))
        if "allOf" in raw:
            where = join_pointer(pointer, "allOf")
            for index, value in enumerate(as_sequence(raw["allOf"], where)):
                parts.append(self.normalise(value, join_pointer(where, index)))
        parts += [self._union(raw, key, pointer) for key in ("oneOf", "anyOf") if key in raw]
        if "discriminator" in raw and not raw.keys() & {"anyOf", "oneOf"}:
            self.report(
                join_pointer(pointer, "discriminator"), "there is no union beside it; it is dropped"
            )
        return parts, nullable

    def _union(self, raw: Mapping[str, Any], key: str, pointer: str) -> Schema:
        where = join_pointer(pointer, key)
        listed = [
            self.normalise(value, join_pointer(where, index))
            for index, value in enumerate(as_sequence(raw[key], where))
        ]
        if not listed:
            self.report(where, "a union without alternatives; it is read as any value")
        core = union(split(schema)[0] for schema in listed)
        notes, lost = common_annotations(listed)
        for name in lost:
            self.report(where, f"only some alternatives have `{name}`; it is dropped")
        if "discriminator" in raw:
            if not may_be_discriminated(core):
                self.report(join_pointer(pointer, "discriminator"), f"{NOT_OBJECTS}; it is dropped")
            core = discriminated(core, self._discriminator(raw, pointer))
        return core | notes

    def _discriminator(self, raw: Mapping[str, Any], pointer: str) -> Schema:
        where = join_pointer(pointer, "discriminator")
        discriminator = as_mapping(raw["discriminator"], where)
        name = as_text(discriminator.get("propertyName"), join_pointer(where, "propertyName"))
        mapping: Schema = {}
        below = join_pointer(where, "mapping")
        for value, target in as_mapping(discriminator.get("mapping") or {}, below).items():
            text = as_text(target, join_pointer(below, value))
            # OpenAPI allows the name of a component in place of a reference here.
            full = (
                COMPONENT_PREFIX + join_pointer("", text)[1:] if text in self._valid_names else text
            )
            reference = self.reference(full, join_pointer(below, value))
            if "$ref" in reference:
                mapping[value] = reference["$ref"]
        return {"propertyName": name, "mapping": mapping}

    def _annotations(self, raw: Mapping[str, Any], pointer: str) -> Schema:
        if self.legacy and "$ref" in raw:
            raw = {key: raw[key] for key in raw if key in PROSE or key == "example"}
        notes: Schema = {flag: True for flag in FLAGS if raw.get(flag) is True}
        if "default" in raw:
            notes["default"] = raw["default"]
        if self._keep_prose:
            notes |= {key: raw[key] for key in PROSE if key in raw}
            if "example" in raw and "examples" not in raw:
                notes["examples"] = [raw["example"]]
        return notes


def _is_shallow(raw: Any) -> bool:
    """Whether a component may mean a constant, and can be normalised without recursion."""
    if not isinstance(raw, Mapping):
        return True
    schema = cast("Mapping[str, Any]", raw)
    return not schema.keys() & _NESTING or bool(schema.keys() & {"const", "enum"})
