"""Render the reference: an index, and a page for each top-level resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from codegen.surface.tree import Argument, Method, Resource, Surface

from .method_docstring import argument_text, headline, method_paragraphs, returns_text
from .text import BANNER

__all__ = ["reference_files"]


def reference_files(surface: Surface) -> dict[str, str]:
    """Return the text of each page, by path below `docs/`."""
    files = {f"reference/{resource.family}.md": _page(resource) for resource in surface.resources}
    files["reference.md"] = _index(surface)
    return files


def _index(surface: Surface) -> str:
    lines = [
        f"<!-- {BANNER.lstrip('# ')} -->",
        "# Reference",
        "",
        f"{len(surface.methods)} methods on {len(surface.resources)} top-level resources.",
        "",
        "| resource | methods | |",
        "| --- | --- | --- |",
    ]
    for resource in surface.resources:
        count = sum(len(r.methods) for r in _walk(resource))
        name = f"[`{resource.family}`](reference/{resource.family}.md)"
        lines.append(f"| {name} | {count} | {_cell(resource.doc)} |")
    return "\n".join([*lines, ""])


def _page(resource: Resource) -> str:
    lines = [
        f"<!-- {BANNER.lstrip('# ')} -->",
        f"# {resource.family}",
        "",
        "[All resources](../reference.md). Limits are rate-limit buckets"
        " ([rate limits](../rate-limits.md)); scope `[unknown]` means that none is known."
        " Marked `*`: assumed, because no source names it: the default limits of PostHog's views,"
        " or the scope of the other operations of the same view.",
        "",
    ]
    for nested in _walk(resource):
        name = ".".join(nested.path)
        if nested is not resource:
            lines += [f"## {name}", ""]
        if nested.doc:
            lines += [_text(nested.doc), ""]
        if nested.methods:
            lines += ["| method | |", "| --- | --- |"]
            lines += [
                f"| [`{method.operation.id}`](#{_anchor(method)}) | {_cell(headline(method))} |"
                for method in nested.methods
            ]
            lines.append("")
        for method in nested.methods:
            lines += _method(method)
    return "\n".join(lines)


def _method(method: Method) -> Iterator[str]:
    operation = method.operation
    yield f"### {operation.id}"
    yield ""
    for paragraph in method_paragraphs(method):
        yield _text(paragraph)
        yield ""
    facts = [f"`{operation.method} {operation.path.removeprefix('/api')}`"]
    scope = ", ".join(f"`{scope}`" for scope in operation.scopes) or "`[unknown]`"
    scope_mark = " \\*" if method.assumed_scopes else ""
    facts.append(f"scope {scope}{scope_mark}" if operation.api_key_allowed else "no API keys")
    limits = ", ".join(f"`{bucket}`" for bucket in operation.buckets)
    facts.append(f"limits {limits}" + (" \\*" if method.assumed_buckets else ""))
    if operation.pagination is not None:
        facts.append(f"pages: {operation.pagination.style}")
    if operation.deprecated:
        facts.append("deprecated by PostHog")
    if operation.schema_gap_source:
        facts.append("not in PostHog's schema")
    yield " · ".join(facts)
    yield ""
    explained = [a for a in method.arguments if argument_text(a)]
    for argument in explained:
        yield f"- {_name(argument)}: {_text(argument_text(argument))}"
    others = [a for a in method.arguments if a not in explained]
    if others:
        start = "Other arguments" if explained else "Arguments"
        yield f"- {start}: {', '.join(map(_name, others))}"
    returns = returns_text(method)
    if returns:
        yield f"- Returns: {_text(returns)}"
    if method.arguments or returns:
        yield ""


def _name(argument: Argument) -> str:
    return f"`{argument.python_name}`{' (required)' if argument.required else ''}"


def _anchor(method: Method) -> str:
    """Return the anchor that GitHub gives the heading of a method."""
    return method.operation.id.replace(".", "").lower()


_MARKDOWN: Mapping[int, str] = str.maketrans({"<": "&lt;", ">": "&gt;", "[": "\\[", "]": "\\]"})


def _text(text: str) -> str:
    """Return a text as Markdown that shows it; code spans stay as they are."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick without a partner
        return "\\`".join(part.translate(_MARKDOWN) for part in parts)
    return "`".join(
        part if index % 2 else part.translate(_MARKDOWN) for index, part in enumerate(parts)
    )


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _walk(resource: Resource) -> Iterator[Resource]:
    yield resource
    for child in resource.children:
        yield from _walk(child)
