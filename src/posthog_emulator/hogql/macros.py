"""PostHog's functions that stand for an expression of HogQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .actions import action_condition
from .context import Context
from .errors import HogQLError, unsupported
from .parse import Node, call, compare, constant, field, parse_select

__all__ = ["expand_macro"]


def expand_macro(name: str, args: Sequence[Node], context: Context) -> Node:
    """Return the expression that a call stands for.

    Raises:
        HogQLError: An argument is wrong, or the emulator lacks what the function needs.
    """
    if name == "matchesAction":
        return _matches_action(args[0], context)
    if name == "sparkline":
        return _tag("Sparkline", data=args[0])
    if name == "recordingButton":
        more = {"recordingStatus": args[1]} if len(args) > 1 else {}
        return _tag("RecordingButton", sessionId=args[0], **more)
    if name == "explainCSPReport":
        return _tag("ExplainCSPReport", properties=args[0])
    if name == "getSurveyResponse":
        return _survey_response(args)
    if name == "uniqueSurveySubmissionsFilter":
        return _survey_submissions(args)
    raise unsupported(f"the function {name}")


def _tag(kind: str, **attributes: Node) -> Node:
    return {
        "node": "HogQLXTag",
        "kind": kind,
        "attributes": [
            {"node": "HogQLXAttribute", "name": name, "value": value}
            for name, value in attributes.items()
        ],
    }


def _value(node: Node, function: str) -> Any:
    if node["node"] != "Constant":
        raise HogQLError(f"{function} only works with constant arguments")
    return node["value"]


def _matches_action(node: Node, context: Context) -> Node:
    key = _value(node, "matchesAction")
    if isinstance(key, int) and not isinstance(key, bool):
        action = context.actions.get(key)
        if action is None:
            raise HogQLError(f"Could not find action with ID {key}")
        return action_condition(action)
    if isinstance(key, str):
        matches = [action for action in context.actions.values() if action.name == key]
        if not matches:
            raise HogQLError(f"Could not find an action with the name '{key}'")
        if len(matches) > 1:
            raise HogQLError(f"Found multiple actions with name '{key}'")
        return action_condition(matches[0])
    raise HogQLError("matchesAction() expects an action ID or name")


def _survey_response(args: Sequence[Node]) -> Node:
    index = _value(args[0], "getSurveyResponse")
    if not isinstance(index, int):
        raise HogQLError("The index of getSurveyResponse must be a whole number.")
    many = len(args) > 2 and bool(_value(args[2], "getSurveyResponse"))
    names = ["$survey_response" if index == 0 else f"$survey_response_{index}"]
    if len(args) > 1:
        names.insert(0, f"$survey_response_{_value(args[1], 'getSurveyResponse')}")
    properties = field("properties")
    if many:
        options = [call("JSONExtractArrayRaw", properties, constant(name)) for name in names]
        tests = [
            part
            for name, option in zip(names, options, strict=True)
            for part in (call("JSONHas", properties, constant(name)), option)
        ]
        return call("multiIf", *tests, options[-1])
    texts = [
        call("nullif", call("JSONExtractString", properties, constant(name)), constant(""))
        for name in names
    ]
    return call("coalesce", *texts)


def _survey_submissions(args: Sequence[Node]) -> Node:
    query = parse_select(
        "SELECT argMax(uuid, timestamp) FROM events WHERE event = 'survey sent' "
        "GROUP BY if(notEmpty(JSONExtractString(properties, '$survey_submission_id')), "
        "JSONExtractString(properties, '$survey_submission_id'), toString(uuid))"
    )
    tests: list[Node] = [
        query["where"],
        compare(
            "==", call("JSONExtractString", field("properties"), constant("$survey_id")), args[0]
        ),
    ]
    for node, op in zip(args[1:], (">=", "<="), strict=False):
        tests.append(compare(op, field("timestamp"), node))
    whole = {**query, "where": {"node": "And", "exprs": tests}}
    return compare("in", field("uuid"), whole)
