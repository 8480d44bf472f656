"""Docstrings of generated methods."""

from __future__ import annotations

from codegen.surface.tree import Method

from .text import sentence

__all__ = ["headline", "method_docstring"]

_VERBS = {
    "list": "List the",
    "get": "Get one of the",
    "create": "Create one of the",
    "update": "Change the given fields of one of the",
    "replace": "Replace one of the",
    "delete": "Delete one of the",
    "restore": "Undo the deletion of one of the",
}


def headline(method: Method) -> str:
    """Return a line that says what the method does, derived from its name only."""
    resource = method.operation.resource.replace(".", " ").replace("_", " ")
    verb = _VERBS.get(method.name)
    if verb is not None:
        return f"{verb} {resource}."
    action = method.name.rstrip("_").replace("_", " ")
    return f"{action[0].upper()}{action[1:]}: an action on {resource}."


def method_docstring(method: Method) -> str:
    """Return the docstring of a method.

    It has the headline; the description in the schema and the note in the overrides, if there are
    any; the endpoint with its scopes, rate limits and pagination; and the documented arguments.
    """
    operation = method.operation
    parts = [headline(method)]
    if method.doc:
        parts.append(sentence(method.doc))
    if method.note:
        parts.append(method.note)
    if any(p.name == "format" and "csv" in p.enum for p in operation.query_parameters):
        parts.append(
            '`format="csv"` works with `client.stream` and `client.raw` only; this reads JSON.'
        )
    facts = [f"`{operation.method} {operation.path}`"]
    if operation.fixed_body is not None:
        deleted = "true" if operation.fixed_body.get("deleted") else "false"
        facts.append(f'with `{{"deleted": {deleted}}}`, as the server refuses DELETE here')
    if operation.scopes:
        facts.append("scope " + ", ".join(f"`{scope}`" for scope in operation.scopes))
    if not operation.api_key_allowed:
        facts.append("not open to API keys")
    facts.append("limits " + " and ".join(f"`{bucket}`" for bucket in operation.buckets))
    if operation.pagination is not None:
        facts.append(f"pages: {operation.pagination.style}")
    if operation.deprecated:
        facts.append("deprecated by PostHog")
    if operation.schema_gap_source:
        facts.append("not in PostHog's schema")
    parts.append("; ".join(facts) + ".")
    documented = [a for a in method.arguments if a.doc]
    if documented:
        lines = [f"    {a.python_name}: {sentence(a.doc, 200)}" for a in documented]
        parts.append("Args:\n" + "\n".join(lines))
    return "\n\n".join(parts)
