"""Conditions of actions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .context import Action
from .parse import Node, call, compare, constant, field
from .property_filters import all_of, any_of, property_condition
from .selectors import selector_pattern

__all__ = ["action_condition"]


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
