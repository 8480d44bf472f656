"""Conditions of actions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .context import Action
from .errors import HogQLError
from .parse import Node, call, compare, constant, field
from .property_filters import all_of, any_of, property_condition

__all__ = ["action_condition", "selector_pattern"]


def action_condition(action: Action) -> Node:
    """Return the condition on the events of an action.

    Raises:
        HogQLError: A selector or a filter is invalid.
    """
    if not action.steps:
        return constant(True)
    return any_of([_step(step) for step in action.steps])


def _step(step: Mapping[str, Any]) -> Node:
    tests: list[Node] = []
    event = step.get("event")
    if event:
        tests.append(compare("==", field("event"), constant(event)))
    if event == "$autocapture":
        tests += _element_tests(step)
    if step.get("url"):
        url = field("properties", "$current_url")
        tests.append(
            _matching(url, str(step["url"]), step.get("url_matching") or "contains", "like")
        )
    if step.get("properties"):
        tests.append(property_condition(step["properties"]))
    return all_of(tests)


def _element_tests(step: Mapping[str, Any]) -> list[Node]:
    chain = field("elements_chain")
    tests: list[Node] = []
    if step.get("selector"):
        tests.append(compare("=~", chain, constant(selector_pattern(str(step["selector"])))))
    if step.get("tag_name"):
        tag = re.escape(str(step["tag_name"]))
        tests.append(compare("=~", chain, constant(rf"(^|;){tag}(\.|$|;|:)")))
    if step.get("href"):
        href, how = field("elements_chain_href"), step.get("href_matching") or "exact"
        tests.append(_matching(href, str(step["href"]), how, "ilike"))
    if step.get("text"):
        test = _matching(
            field("text"), str(step["text"]), step.get("text_matching") or "exact", "ilike"
        )
        each: Node = {"node": "Lambda", "args": ["text"], "expr": test}
        tests.append(call("arrayExists", each, field("elements_chain_texts")))
    return tests


def _matching(value: Node, text: str, how: str, contains: str) -> Node:
    if how == "regex":
        return compare("=~", value, constant(text))
    if how == "contains":
        return compare(contains, value, constant(f"%{text}%"))
    return compare("==", value, constant(text))


_PART: Final = re.compile(r"([\w-]+|\*)?((?:[.#][\w-]+|\[[^\]]*\]|:nth-child\(\d+\))*)\Z")
_PIECE: Final = re.compile(r"\.([\w-]+)|#([\w-]+)|\[([^\]]*)\]|:nth-child\((\d+)\)")
_ATTRIBUTE: Final = re.compile(r"""\s*([\w-]+)\s*(?:=\s*["']?([^"']*)["']?)?\s*\Z""")
_REST: Final = r'([-_a-zA-Z0-9\.:"= \[\]\(\),]*?)?($|;|:([^;^\s]*(;|$|\s)))'


def selector_pattern(selector: str) -> str:
    """Return the regular expression, over a chain of elements, of a CSS selector.

    Raises:
        HogQLError: The selector is not supported.
    """
    parts, direct = list[str](), False
    # The chain names the innermost element first.
    for part in reversed(re.sub(r"\s*>\s*", " > ", selector.strip()).split()):
        if part == ">":
            direct = True
            continue
        if parts:
            parts.append("" if direct else ".*")
        parts.append(_element(part, selector))
        direct = False
    return "(^|;)" + "".join(parts)


def _element(part: str, selector: str) -> str:
    found = _PART.match(part)
    if found is None:
        raise HogQLError(f"The selector {selector!r} is not supported.")
    tag, rest = found[1], found[2] or ""
    classes, attributes = list[str](), dict[str, str]()
    for piece in _PIECE.finditer(rest):
        if piece[1]:
            classes.append(piece[1])
        elif piece[2]:
            attributes["attr_id"] = piece[2]
        elif piece[4]:
            attributes["nth-child"] = piece[4]
        else:
            given = _ATTRIBUTE.match(piece[3])
            if given is None:
                raise HogQLError(f"The selector {selector!r} is not supported.")
            name = given[1]
            own = name if name in {"href", "text", "nth-child", "nth-of-type"} else f"attr__{name}"
            attributes["attr_id" if name == "id" else own] = given[2] or ""
    text = re.escape(tag) if tag and tag != "*" else "[^;]*?" if not rest else ""
    if not tag and rest:
        text = "[^;.:]*?"
    if classes:
        text += r".*?\." + r"\..*?".join(re.escape(one) for one in sorted(classes))
    if attributes:
        text += ".*?"
        for name in sorted(attributes):
            text += f'{re.escape(name)}="{re.escape(attributes[name])}".*?'
    return text + _REST
