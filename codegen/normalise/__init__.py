"""From any instance's document to one form of it.

`normalise` takes OpenAPI 3.0.3 or 3.1.0 and returns a valid OpenAPI 3.1.0 document in which each
thing is said in one way only: nullability, references, unions, media types, parameters,
security. What cannot be said is returned as findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from codegen.diagnostics import Finding, SchemaError
from codegen.json_access import as_mapping, child

from .discriminators import settle
from .drf_quirks import inherit_read_only
from .operations import paths
from .schemas import Schemas

__all__ = ["Normalised", "normalise"]


@dataclass(frozen=True, slots=True)
class Normalised:
    """A document in its one form, and what it could not hold."""

    document: dict[str, Any]
    """A valid OpenAPI 3.1.0 document, its keys sorted. It shares nothing with the input."""
    findings: tuple[Finding, ...]
    """Sorted by pointer, which leads into the input."""


def normalise(document: Mapping[str, Any], *, keep_prose: bool = False) -> Normalised:
    """Return the one form of an OpenAPI document.

    It is pure, deterministic and idempotent. Prose changes nothing but itself: without it, the
    result is the same as from a document that has none.

    Args:
        document: An OpenAPI document, 3.0 or 3.1, as plain JSON data. It is not changed.
        keep_prose: Whether descriptions, summaries, titles and examples stay.

    Raises:
        SchemaError: Something is of the wrong JSON type, a reference leads nowhere, or schemas are
            nested without end.
    """
    try:
        return _normalise(document, keep_prose)
    except RecursionError:
        reason = "its schemas are nested, or refer to one another, too deeply"
        raise SchemaError("#", reason, "Give a document as an instance serves it") from None


def _normalise(document: Mapping[str, Any], keep_prose: bool) -> Normalised:
    legacy = str(document.get("openapi", "")).startswith("3.0")
    schemas = Schemas(document, legacy=legacy, keep_prose=keep_prose)
    found = paths(document, schemas, keep_prose=keep_prose)
    if document.get("webhooks"):
        schemas.report("/webhooks", "a client does not receive webhooks; they are dropped")
    components: dict[str, Any] = {"schemas": schemas.components()}
    schemes = _security_schemes(document, keep_prose)
    if schemes:
        components["securitySchemes"] = schemes
    built: dict[str, Any] = {
        "components": components,
        "info": _info(document, keep_prose),
        "openapi": "3.1.0",
        "paths": found,
    }
    settle(built, schemas.report)
    inherit_read_only(components["schemas"])
    return Normalised(_ordered(built), tuple(sorted(schemas.findings)))


def _info(document: Mapping[str, Any], keep_prose: bool) -> dict[str, Any]:
    raw = as_mapping(document.get("info", {}), "/info")
    info = {key: str(raw.get(key, "")) for key in ("title", "version")}
    if keep_prose:
        prose = ("contact", "description", "license", "summary", "termsOfService")
        info |= {key: raw[key] for key in prose if raw.get(key)}
    return info


def _security_schemes(document: Mapping[str, Any], keep_prose: bool) -> dict[str, Any]:
    at = "/components/securitySchemes"
    holder = as_mapping(document.get("components", {}), "/components")
    schemes: dict[str, Any] = {}
    for name, value in as_mapping(holder.get("securitySchemes", {}), at).items():
        schemes[name] = {
            key: part
            for key, part in as_mapping(value, child(at, name)).items()
            if key[:2] != "x-" and (keep_prose or key != "description")
        }
    return schemes


def _ordered(value: Any) -> Any:
    """Return a deep copy with all keys sorted."""
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value)
        return {key: _ordered(found[key]) for key in sorted(found)}
    if isinstance(value, list | tuple):
        return [_ordered(part) for part in cast("list[Any]", value)]
    return value
