"""Schemas and components, normalised each on its own.

Discriminators are left as they are found: they need all components (see `discriminators`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from codegen.diagnostics import Finding, SchemaError
from codegen.json_access import MISSING, as_mapping, as_sequence, as_text, child, lookup, tokens

from .keywords import BLANK, FLAGS, LOST, NULL, PROSE, Schema, is_null, split
from .merge import Merger
from .naming import joined, plain_names
from .typed import typed
from .unions import NOT_OBJECTS, common_annotations, taggable, tagged, union
from .walk import direct

__all__ = ["PREFIX", "Schemas"]

_NESTING = frozenset({"additionalProperties", "items", "prefixItems", "properties"})
PREFIX = "#/components/schemas/"
_REMEDY = "Mend the reference, or get a fresh document with `python -m codegen fetch`"


class Schemas:
    """The schemas of one document, and what was found on the way."""

    def __init__(
        self, document: Mapping[str, Any], *, legacy: bool = False, keep_prose: bool = False
    ) -> None:
        self.legacy = legacy
        self.findings: set[Finding] = set()
        self._document = document
        self._keep_prose = keep_prose
        holder = as_mapping(document.get("components", {}), "/components")
        raw = as_mapping(holder.get("schemas", {}), "/components/schemas")
        # Everything below uses the plain names; pointers lead to the names in the document.
        self._plain = plain_names(raw)
        self._raw = {self._plain[name]: schema for name, schema in raw.items()}
        self._where = {self._plain[name]: child("/components/schemas", name) for name in raw}
        self._given: dict[str, str] = {}
        self._done: dict[str, Schema] = {}
        self._doing: set[str] = set()
        self._merger = Merger(self)
        for name, plain in self._plain.items():
            if name != plain:
                at = child("/components/schemas", name)
                self.report(at, f"no component may have this name; it is called {plain!r}")

    def report(self, at: str, reason: str) -> None:
        """Note something that cannot be represented."""
        self.findings.add(Finding(at, reason))

    def components(self) -> dict[str, Schema]:
        """Return all components but those that stand for null or blank, which are folded away."""
        pending = sorted(self._raw)
        while pending:
            for name in pending:
                self._component(name)
            # References into the middle of a schema add components as they are met.
            pending = sorted(self._raw.keys() - self._done.keys())
        return {name: schema for name, schema in self._done.items() if self._constant(name) is None}

    def resolve(self, reference: str) -> Schema | None:
        """Return the normalised component a reference names, or None inside a cycle."""
        return self._component(reference.removeprefix(PREFIX))

    def schema(self, raw: Any, at: str) -> Schema:
        """Return the normalised form of a schema."""
        if raw is True:
            return {}
        if raw is False:
            self.report(at, "a schema that allows nothing; taken as any type")
            return {}
        found = as_mapping(raw, at)
        parts, nullable = self._parts(found, at)
        kept = [part for part in parts if not is_null(split(part)[0])]
        if kept and len(kept) < len(parts):
            # `allOf: [$ref, {type: null}]` is how drf-spectacular marks a reference as nullable.
            nullable, parts = True, kept
        notes: Schema = {}
        core: Schema = {}
        for part in parts:
            inner, own = split(part)
            notes |= own
            both = self._merger.intersect(core, inner, at)
            if both is None:
                self.report(at, "its parts exclude each other; the first ones are kept")
            else:
                core = both
        if nullable:
            core = union([core, NULL])
        notes |= self._annotations(found, at)
        if core.get("type") == "integer" and isinstance(notes.get("default"), float):
            notes["default"] = int(notes["default"])
        return core | notes

    def reference(self, target: Any, at: str) -> Schema:
        """Return what a reference stands for: a reference, or the constant it names.

        Raises:
            SchemaError: The document has nothing there, or it is outside the document.
        """
        text = as_text(target, at)
        if not text.startswith("#/"):
            reason = f"it refers to {text!r}, outside of the document"
            raise SchemaError(f"#{at}", reason, "Bundle the document into one file first")
        path = tokens(text)
        if lookup(self._document, path) is MISSING:
            reason = f"it refers to {text!r}, which the document does not hold"
            raise SchemaError(f"#{at}", reason, _REMEDY)
        whole = path[:2] == ("components", "schemas") and len(path) == 3
        name = self._plain[path[2]] if whole else self._named(text, path)
        constant = self._constant(name)
        return {"$ref": PREFIX + name} if constant is None else constant

    def _component(self, name: str) -> Schema | None:
        if name not in self._done:
            if name in self._doing:
                return None
            self._doing.add(name)
            at = self._where[name]
            if self._loops(tokens(at)):
                self.report(at, "it is a part of itself; taken as any type")
                self._done[name] = {}
            else:
                self._done[name] = self.schema(self._raw[name], at)
            self._doing.discard(name)
        return self._done[name]

    def _named(self, target: str, path: tuple[str, ...]) -> str:
        """Make what a reference into the middle of something names a component of its own."""
        key = "/".join(path)
        if key not in self._given:
            structure = {"$defs", "components", "definitions", "items", "properties", "schemas"}
            name = joined([token for token in path if token not in structure], self._raw)
            self._given[key] = name
            self._raw[name] = lookup(self._document, path)
            self._where[name] = child("", *path)
        return self._given[key]

    def _constant(self, name: str) -> Schema | None:
        """Return null or blank where a component stands for that and nothing else."""
        if not _is_shallow(self._raw[name]):
            return None
        core, _ = split(self._component(name) or {})
        return core if core in (NULL, BLANK) else None

    def _loops(self, path: tuple[str, ...]) -> bool:
        """Whether what stands at `path` is an alternative or a part of itself."""
        seen: set[tuple[str, ...]] = set()
        pending = [path]
        while pending:
            for target in direct(lookup(self._document, pending.pop())):
                if (found := tokens(target)) == path:
                    return True
                if found not in seen:
                    seen.add(found)
                    pending.append(found)
        return False

    def _parts(self, raw: Mapping[str, Any], at: str) -> tuple[list[Schema], bool]:
        """Return the schemas that have to hold at once, and whether null is allowed besides."""
        nullable = raw.get("nullable") is True
        parts: list[Schema] = []
        if "$ref" in raw:
            parts.append(self.reference(raw["$ref"], child(at, "$ref")))
            if self.legacy:
                silent = {"$ref", "nullable", "example", *PROSE}
                ignored = sorted(key for key in raw.keys() - silent if key[:2] != "x-")
                if ignored:
                    names = ", ".join(ignored)
                    self.report(at, f"OpenAPI 3.0 ignores keys beside a $ref: {names}")
                return parts, nullable
        for key in sorted(LOST & raw.keys()):
            self.report(child(at, key), f"`{key}` cannot be represented; it is dropped")
        if own := typed(raw, at, self):
            parts.append(union(own))
        if "allOf" in raw:
            where = child(at, "allOf")
            for index, value in enumerate(as_sequence(raw["allOf"], where)):
                parts.append(self.schema(value, child(where, index)))
        parts += [self._union(raw, key, at) for key in ("oneOf", "anyOf") if key in raw]
        if "discriminator" in raw and not raw.keys() & {"anyOf", "oneOf"}:
            self.report(child(at, "discriminator"), "there is no union beside it; it is dropped")
        return parts, nullable

    def _union(self, raw: Mapping[str, Any], key: str, at: str) -> Schema:
        where = child(at, key)
        listed = [
            self.schema(value, child(where, index))
            for index, value in enumerate(as_sequence(raw[key], where))
        ]
        if not listed:
            self.report(where, "a union of nothing; taken as any type")
        core = union(split(schema)[0] for schema in listed)
        notes, lost = common_annotations(listed)
        for name in lost:
            self.report(where, f"`{name}` stands on some alternatives only; it is dropped there")
        if "discriminator" in raw:
            if not taggable(core):
                self.report(child(at, "discriminator"), f"{NOT_OBJECTS}; it is dropped")
            core = tagged(core, self._discriminator(raw, at))
        return core | notes

    def _discriminator(self, raw: Mapping[str, Any], at: str) -> Schema:
        where = child(at, "discriminator")
        found = as_mapping(raw["discriminator"], where)
        name = as_text(found.get("propertyName"), child(where, "propertyName"))
        mapping: Schema = {}
        below = child(where, "mapping")
        for value, target in as_mapping(found.get("mapping") or {}, below).items():
            text = as_text(target, child(below, value))
            # A bare component name is allowed in a mapping.
            full = PREFIX + child("", text)[1:] if text in self._plain else text
            reference = self.reference(full, child(below, value))
            if "$ref" in reference:
                mapping[value] = reference["$ref"]
        return {"propertyName": name, "mapping": mapping}

    def _annotations(self, raw: Mapping[str, Any], at: str) -> Schema:
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
    """Whether a component may stand for a constant, and is cheap to look into."""
    if not isinstance(raw, Mapping):
        return True
    found = cast("Mapping[str, Any]", raw)
    return not found.keys() & _NESTING or bool(found.keys() & {"const", "enum"})
