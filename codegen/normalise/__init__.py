"""Normalise an instance's OpenAPI document.

`normalise` takes OpenAPI 3.0 or 3.1 and returns a valid OpenAPI 3.1.0 document with one way of
writing each thing: nullability, references, unions, media types, parameters, security. What cannot
be represented is returned as diagnostics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from codegen.diagnostics import USE_SERVED_SCHEMA, Diagnostic, SchemaError
from codegen.json_access import as_mapping, join_pointer

from .discriminators import normalise_discriminators
from .drf_quirks import inherit_read_only
from .operations import paths
from .schemas import SchemaNormaliser

__all__ = ["NormalisedDocument", "normalise"]


@dataclass(frozen=True, slots=True)
class NormalisedDocument:
    """A normalised document and what could not be represented in it."""

    document: dict[str, Any]
    """A valid OpenAPI 3.1.0 document with sorted keys. It shares no object with the input."""
    diagnostics: tuple[Diagnostic, ...]
    """Sorted by pointer; pointers are those of the input document."""


def normalise(document: Mapping[str, Any], *, keep_prose: bool = False) -> NormalisedDocument:
    """Return the normalised form of an OpenAPI document.

    Pure, deterministic and idempotent. Prose does not affect the rest of the result.

    Args:
        document: An OpenAPI document, 3.0 or 3.1, as plain JSON data. It is not changed.
        keep_prose: Whether descriptions, summaries, titles and examples are kept.

    Raises:
        SchemaError: A value has the wrong JSON type, a reference leads nowhere, or schemas are
            nested too deeply.
    """
    try:
        return _normalise(document, keep_prose)
    except RecursionError:
        reason = "its schemas are nested, or refer to one another, too deeply"
        raise SchemaError("#", reason, USE_SERVED_SCHEMA) from None


def _normalise(document: Mapping[str, Any], keep_prose: bool) -> NormalisedDocument:
    legacy = str(document.get("openapi", "")).startswith("3.0")
    normaliser = SchemaNormaliser(document, legacy=legacy, keep_prose=keep_prose)
    path_items = paths(document, normaliser, keep_prose=keep_prose)
    if document.get("webhooks"):
        normaliser.report("/webhooks", "webhooks are not called by a client; they are dropped")
    components: dict[str, Any] = {"schemas": normaliser.components()}
    schemes = _security_schemes(document, keep_prose)
    if schemes:
        components["securitySchemes"] = schemes
    result: dict[str, Any] = {
        "components": components,
        "info": _info(document, keep_prose),
        "openapi": "3.1.0",
        "paths": path_items,
    }
    # Both need all components in their final form.
    normalise_discriminators(result, normaliser.report)
    inherit_read_only(components["schemas"])
    return NormalisedDocument(_sort_keys(result), tuple(sorted(normaliser.diagnostics)))


def _info(document: Mapping[str, Any], keep_prose: bool) -> dict[str, Any]:
    raw = as_mapping(document.get("info", {}), "/info")
    # YAML reads a version such as 1.0 as a number.
    info = {key: str(raw.get(key, "")) for key in ("title", "version")}
    if keep_prose:
        prose = ("contact", "description", "license", "summary", "termsOfService")
        info |= {key: raw[key] for key in prose if raw.get(key)}
    return info


def _security_schemes(document: Mapping[str, Any], keep_prose: bool) -> dict[str, Any]:
    pointer = "/components/securitySchemes"
    holder = as_mapping(document.get("components", {}), "/components")
    schemes: dict[str, Any] = {}
    for name, value in as_mapping(holder.get("securitySchemes", {}), pointer).items():
        schemes[name] = {
            key: part
            for key, part in as_mapping(value, join_pointer(pointer, name)).items()
            if key[:2] != "x-" and (keep_prose or key != "description")
        }
    return schemes


def _sort_keys(value: Any) -> Any:
    """Return a deep copy with sorted keys."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, Any]", value)
        return {key: _sort_keys(mapping[key]) for key in sorted(mapping)}
    if isinstance(value, list | tuple):
        return [_sort_keys(part) for part in cast("list[Any]", value)]
    return value
