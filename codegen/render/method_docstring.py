"""Docstrings of generated methods."""

from __future__ import annotations

from codegen.phrases import default_noun, summarize
from codegen.surface.tree import Argument, Method

from .text import sentence

__all__ = ["argument_text", "headline", "method_docstring", "method_paragraphs", "returns_text"]


def headline(method: Method) -> str:
    """Return a sentence that says what the method does."""
    if method.summary:
        return method.summary
    noun = default_noun(tuple(method.operation.resource.split(".")))
    return summarize(method, noun, is_documented=False).text


def method_paragraphs(method: Method, *, csv_note: bool = True) -> list[str]:
    """Return what is known about a method: docs, the schema's description, overrides' notes.

    Args:
        method: The method.
        csv_note: Whether to say how the client reads CSV, where the operation can return it.
    """
    parts = [headline(method)]
    if method.about and not method.doc:
        parts.append(method.about)
    if method.doc:
        parts.append(sentence(method.doc))
    if method.note and method.note not in parts[0]:
        parts.append(method.note)
    if csv_note and any(
        p.name == "format" and "csv" in p.enum for p in method.operation.query_parameters
    ):
        parts.append(
            '`format="csv"` works with `client.stream` and `client.raw` only; this reads JSON.'
        )
    return parts


def argument_text(argument: Argument) -> str:
    """Return what is known about an argument, or nothing."""
    parts = [sentence(argument.doc, 200)] if argument.doc else []
    if argument.default:
        parts.append(f"Default: `{sentence(argument.default, 60)}`.")
    return " ".join(parts)


def returns_text(method: Method) -> str:
    """Return what the method returns, or nothing if that is None."""
    if method.returns_doc:
        return method.returns_doc
    shape = method.returns.replace("_list[", "list[").replace("m.", "")
    if method.cursor:
        return f"All `{shape}`, page by page as you iterate."
    if method.returns in {"JSON", "dict[str, JSON]"}:
        return "JSON. PostHog's schema does not say of what shape."
    if method.returns == "bytes":
        return "The content of the file."
    return "" if method.returns in {"None", "str"} else f"`{shape}`."


def method_docstring(method: Method) -> str:
    """Return the docstring of a method.

    It has a summary; the description in the schema and the note in the overrides, if there are
    any; the endpoint with its scopes, rate limits and pagination; the arguments that something is
    known about; and the result.
    """
    operation = method.operation
    parts = method_paragraphs(method)
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
    lines = [
        f"    {argument.python_name}: {text}"
        for argument in method.arguments
        if (text := argument_text(argument))
    ]
    if lines:
        parts.append("\n".join(["Args:", *lines]))
    returns = returns_text(method)
    if returns:
        parts.append(f"Returns:\n    {returns}")
    return "\n\n".join(parts)
