"""The tables of HogQL as a query shows them, and what an editor may suggest."""

from __future__ import annotations

from functools import cache
from typing import Any

from .insight_events import NOW, ZONE, Event, Project


@cache
def project() -> Project:
    at = NOW.astimezone(ZONE)
    events = [Event("a", "p1", at, {"plan": "pro", "plant": 3, "$set": {"city": "Oslo"}})]
    made = Project(events)
    made.session.views = {"recent": "SELECT event, count() AS total FROM events GROUP BY event",
                          "broken": "SELECT nothing FROM nowhere"}  # fmt: skip
    made.session.variables = {"v": {"code_name": "country"}}
    return made


def test_tables_and_their_fields() -> None:
    body = project().body({"kind": "DatabaseSchemaQuery"})
    events = body["tables"]["events"]
    assert (events["id"], events["type"], body["joins"]) == ("events", "posthog", [])
    types = {name: field["type"] for name, field in events["fields"].items()}
    assert {name: types[name] for name in ("event", "timestamp", "properties", "person")} == {
        "event": "string", "timestamp": "datetime", "properties": "json", "person": "lazy_table",
    }  # fmt: skip
    person = events["fields"]["person"]
    assert person["table"] == "persons"
    assert {"id", "properties"} <= set(person["fields"])
    assert "team_id" not in types
    flags = body["tables"]["system.feature_flags"]
    assert (flags["type"], flags["fields"]["created_at"]["type"]) == ("system", "datetime")
    view = body["tables"]["recent"]
    assert view["query"]["query"].startswith("SELECT event")
    assert [(one["name"], one["type"]) for one in view["fields"].values()] == [
        ("event", "string"), ("total", "integer"),
    ]  # fmt: skip
    assert body["tables"]["broken"]["fields"] == {}
    few = project().body({"kind": "DatabaseSchemaQuery", "tables": ["persons"],
                          "includeFields": False})["tables"]  # fmt: skip
    assert {name: table["fields"] for name, table in few.items()} == {"persons": {}}


def suggested(text: str, language: str = "hogQL") -> dict[str, dict[str, Any]]:
    """What is suggested at the place of `|`, by label. What is typed begins after the dot."""
    end = text.index("|")
    start = max(text.rfind(letter, 0, end) for letter in " .{(,") + 1
    body = project().body({
        "kind": "HogQLAutocomplete", "language": language, "query": text.replace("|", ""),
        "startPosition": start, "endPosition": end,
    })  # fmt: skip
    assert body["incomplete_list"] is False
    return {one["label"]: one for one in body["suggestions"]}


def test_suggestions() -> None:
    tables = suggested("SELECT event FROM |")
    assert {"events", "persons", "system.cohorts", "recent"} <= tables.keys()
    assert (tables["events"]["kind"], tables["events"]["detail"]) == ("Folder", "Table")
    assert "cohorts" in suggested("SELECT id FROM system.|")
    fields = suggested("SELECT e| FROM events WHERE 1")
    assert (fields["event"]["kind"], fields["event"]["detail"]) == ("Variable", "String")
    assert fields["$session_id"]["insertText"] == "`$session_id`"
    assert (fields["count"]["kind"], fields["count"]["insertText"]) == ("Function", "count()")
    # A query that is not finished is completed.
    assert suggested("SELECT |") == suggested("SELECT | FROM events")
    assert suggested("|", "hogQLExpr").keys() == suggested("SELECT |").keys()
    assert suggested("SELECT properties.pla| FROM events").keys() == {"plan", "plant"}
    assert suggested("SELECT properties.plant| FROM events")["plant"]["detail"] == "Numeric"
    assert suggested("SELECT person.properties.| FROM events").keys() == {"city"}
    assert "created_at" in suggested("SELECT person.| FROM events")
    joined = "FROM events AS e LEFT JOIN persons AS p ON p.id = e.person_id"
    assert suggested(f"SELECT | {joined}").keys() == {"e", "p"}
    assert "is_identified" in suggested(f"SELECT p.| {joined}")
    assert "distinct_id" in suggested(f"SELECT 1 {joined} WHERE e.|")
    assert suggested("SELECT event.| FROM events") == {}
    assert "event" not in suggested("SELECT | FROM nowhere")
    both = "SELECT event FROM events UNION ALL SELECT i| FROM persons"
    assert "is_identified" in suggested(both)
    assert suggested("SELECT {variables.|} FROM events").keys() == {"country"}
    assert suggested("SELECT 'a|' FROM events") == {}
    assert "hog" in project().refusal(
        "HogQLAutocomplete", language="hog", query="", startPosition=0, endPosition=0
    )
