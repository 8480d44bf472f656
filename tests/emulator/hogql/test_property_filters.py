"""Property filters as the API has them, as conditions on rows."""

from __future__ import annotations

from typing import Any

import pytest

from posthog_emulator.hogql.errors import HogQLError
from posthog_emulator.hogql.parse import Expression
from posthog_emulator.hogql.property_filters import property_condition
from tests.emulator.hogql.hogql_database import TYPES, Asker, uuid


def _absolute(text: str) -> str:
    return {"-5d": "2026-01-03"}.get(text, text)


def _found(given: Any, table: str = "events") -> list[int]:
    condition = Expression(property_condition(given, table, types=TYPES, now=_absolute))
    key = {"events": "uuid", "persons": "id", "groups": "key", "sessions": "session_id"}[table]
    rows = Asker().rows(f"SELECT {key} AS k FROM {table} WHERE {{x}} ORDER BY k", {"x": condition})
    return [int(str(row[0])[-1], 16) if "-" in str(row[0]) else 1 for row in rows]


def _event(key: str, operator: str | None = None, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"key": key, "type": "event", "operator": operator, "value": value, **more}


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (None, [1, 2, 3, 4]),
        ([], [1, 2, 3, 4]),
        (_event("plan", None, "pro"), [3]),
        (_event("plan", "exact", ["pro", "x"]), [3]),
        (_event("plan", "is_not", "pro"), [1, 2, 4]),
        (_event("plan", "is_not", ["pro", "x"]), [1, 2, 4]),
        (_event("plan", "in", ["pro"]), [3]),
        (_event("paid", "exact", ["true"]), [1]),
        (_event("paid", "exact", "false"), [4]),
        (_event("n", "exact", 5), [1]),
        (_event("n", "exact", ["5", "7"]), [1, 3]),
        (_event("n", "gt", 5), [3]),
        (_event("n", "gte", "5"), [1, 3]),
        (_event("n", "lt", 7), [1]),
        (_event("n", "max", 7), [1, 3]),
        (_event("n", "between", [5, 6]), [1]),
        (_event("n", "not_between", [5, 6]), [3]),
        (_event("$browser", "icontains", "chro"), [1]),
        (_event("$browser", "icontains", ["chro", "FOX"]), [1, 2]),
        (_event("$browser", "not_icontains", "chro"), [2, 3, 4]),
        (_event("$browser", "not_icontains", ["chro", "fox"]), []),
        (_event("$browser", "regex", "^F"), [2]),
        (_event("$browser", "not_regex", "^F"), [1, 3, 4]),
        (_event("$browser", "regex", ["^F", "^C"]), [1, 2]),
        (_event("$browser", "is_set"), [1, 2]),
        (_event("$browser", "is_not_set", "is_not_set"), [3, 4]),
        (_event("when", "is_date_after", "2026-01-04"), [2]),
        (_event("when", "is_date_before", "2026-01-04"), []),
        (_event("when", "is_date_after", "-5d"), [2]),
        ({"key": "email", "type": "person", "operator": "icontains", "value": "ANN"}, [1, 3]),
        ({"key": "distinct_id", "type": "person", "value": "bob"}, [2, 4]),
        ({"key": "name", "type": "group", "group_type_index": 0, "value": "Acme"}, [1]),
        ({"key": "$session_duration", "type": "session", "operator": "gt", "value": 5}, [1, 3]),
        ({"key": "id", "type": "cohort", "value": 7}, [1, 3]),
        ({"key": "id", "type": "cohort", "value": 7, "operator": "not_in"}, [2, 4]),
        ({"key": "id", "type": "cohort", "value": 8, "negation": True}, [1, 3]),
        ({"key": "event = 'signup' OR properties.n = 5", "type": "hogql"}, [1, 3, 4]),
        ({"key": "0 -- nobody", "type": "hogql"}, []),
        ({"key": "event", "type": "event_metadata", "value": "signup"}, [3, 4]),
        ({"key": "some-flag", "type": "flag", "value": "x"}, [1, 2, 3, 4]),
        ({"key": "tag_name", "type": "element", "value": ["button"]}, [3]),
        ({"key": "selector", "type": "element", "value": "button.btn"}, [3]),
        ({"key": "text", "type": "element", "value": "Buy"}, [3]),
        ({"key": "href", "type": "element", "operator": "icontains", "value": "BUY"}, [3]),
        ([_event("n", "exact", 5), _event("n", "exact", 7)], []),
        ({"type": "OR", "values": [_event("n", "exact", 5), _event("n", "exact", 7)]}, [1, 3]),
        ({"type": "AND", "values": [{"type": "OR", "values": [_event("n", "is_set")]},
                                    _event("plan", "is_set")]}, [3]),
        ({"type": "AND", "values": []}, [1, 2, 3, 4]),
    ],
)  # fmt: skip
def test_events(given: Any, numbers: list[int]) -> None:
    assert _found(given) == numbers


@pytest.mark.parametrize(
    ("table", "given", "numbers"),
    [
        ("persons", {"key": "email", "type": "person", "value": "bob@b.io"}, [0xA2 & 15]),
        ("persons", {"key": "age", "type": "person", "operator": "gt", "value": 10}, [1, 2]),
        ("persons", {"key": "id", "type": "static-cohort", "value": 8}, [2]),
        ("persons", {"key": "created_at", "type": "person_metadata", "operator": "lt",
                     "value": "2026-01-01"}, [1, 2]),
        ("groups", {"key": "name", "type": "group", "operator": "icontains", "value": "ACM"}, [1]),
        ("sessions", {"key": "$pageview_count", "type": "session", "value": 1}, [1, 2]),
    ],
)  # fmt: skip
def test_other_tables(table: str, given: Any, numbers: list[int]) -> None:
    assert _found(given, table) == numbers


@pytest.mark.parametrize(
    ("operator", "value", "version", "inside"),
    [
        ("semver_eq", "1.2.3", "1.2.3", True),
        ("semver_gt", "1.9.0", "1.10.0", True),
        ("semver_lte", "1.9.0", "1.10.0", False),
        ("semver_neq", "1.2.3", "1.2.4", True),
        ("semver_tilde", "1.2.3", "1.2.9", True),
        ("semver_tilde", "1.2.3", "1.3.0", False),
        ("semver_tilde", "1", "1.9.9", True),
        ("semver_tilde", "1", "2.0.0", False),
        ("semver_caret", "1.2.3", "1.9.0", True),
        ("semver_caret", "0.2.3", "0.3.0", False),
        ("semver_caret", "0.0.3", "0.0.4", False),
        ("semver_wildcard", "1.2.*", "1.2.7", True),
        ("semver_wildcard", "1.2.*", "1.3.0", False),
    ],
)
def test_versions(operator: str, value: str, version: str, inside: bool) -> None:
    condition = property_condition(_event("v", operator, value))
    rows = Asker().rows(
        "SELECT count() FROM (SELECT {text} AS properties) AS e WHERE {x}",
        {"text": f'{{"v": "{version}"}}', "x": Expression(condition)},
    )
    assert rows == [[int(inside)]]


@pytest.mark.parametrize(
    ("given", "table", "told"),
    [
        (_event("n", "between", [1]), "events", "two-element array [min, max]"),
        (_event("n", "between", ["a", "b"]), "events", "requires numeric values"),
        (_event("n", "not_between", [2, 1]), "events", "min value to be less than or equal to"),
        (_event("n", "sounds_like", "x"), "events", "sounds_like"),
        ({"key": "n", "type": "event"}, "sessions",
         "The 'event' property filter does not work in 'sessions' scope"),
        ({"key": "n", "type": "nonsense"}, "events", "'nonsense' property filter does not work"),
        ({"key": "x", "type": "group", "value": 1}, "events", "group_type_index"),
        ({"key": "id", "type": "cohort", "value": "x"}, "events", "not the id of a cohort"),
        ({"key": "1) OR (1", "type": "hogql"}, "events", "input"),
        ({"key": "1 FROM events", "type": "hogql"}, "events", "input"),
        ({"key": "selector", "type": "element", "value": "a[b"}, "events", "selector"),
        (_event("v", "semver_tilde", "x"), "events", "is no version"),
    ],
)  # fmt: skip
def test_refused(given: Any, table: str, told: str) -> None:
    with pytest.raises(HogQLError) as caught:
        property_condition(given, table)
    assert told in caught.value.detail


def test_uuids_of_the_rows_are_their_numbers() -> None:
    assert _found({"key": f"uuid = '{uuid(3)}'", "type": "hogql"}) == [3]
