"""`flags evaluate`: values, reasons, and what is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from posthog_emulator import Emulator

from .helpers import CompletedCommand

Program = Callable[..., CompletedCommand]


@pytest.fixture(autouse=True)
def flags(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("POSTHOG_PROJECT_API_KEY", raising=False)
    emulator.reset()
    emulator.state.events.project(1).groups.define_type("company", 0)
    emulator.set_flag("beta", "b", payload={"a": 1})
    emulator.set_flag("off", enabled=False)
    test = {"key": "plan", "type": "person", "operator": "exact", "value": "pro"}
    condition = {"properties": [test], "rollout_percentage": 100}
    fields = {"key": "paid", "active": True, "filters": {"groups": [condition]}}
    emulator.add("feature_flags", fields)
    yield
    emulator.state.settings.exhausted_quotas = frozenset()


def test_values_with_their_reasons(program: Program) -> None:
    result = program("flags", "evaluate", "ada", "--property", "plan=pro")
    assert (result.status, result.err) == (0, "")
    assert result.json == [
        {
            "key": "beta",
            "value": "b",
            "reason": "condition_match",
            "description": "Matched condition set 1",
            "payload": {"a": 1},
            "local": False,
        },
        {
            "key": "off",
            "value": False,
            "reason": "flag_disabled",
            "description": "Feature flag is disabled",
            "payload": None,
            "local": False,
        },
        {
            "key": "paid",
            "value": True,
            "reason": "condition_match",
            "description": "Matched condition set 1",
            "payload": None,
            "local": False,
        },
    ]


def test_the_token_is_looked_up_or_read(
    program: Program, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.requests.clear()
    program("flags", "evaluate", "ada")
    assert [request.operation for request in emulator.requests] == ["projects.get", None]
    monkeypatch.setenv("POSTHOG_PROJECT_API_KEY", "phc_emulator")
    emulator.requests.clear()
    program("flags", "evaluate", "ada")
    assert len(emulator.requests) == 1


def test_some_flags_in_another_format(program: Program) -> None:
    result = program("flags", "evaluate", "ada", "-k", "off", "-k", "gone", "--format", "jsonl")
    assert [(row["key"], row["value"], row["reason"]) for row in result.lines] == [
        ("off", False, "flag_disabled"),
        ("gone", False, "flag_missing"),
    ]
    table = program("flags", "evaluate", "ada", "--format", "table").out
    assert "condition_match" in table
    assert "Matched condition set 1" in table


def test_local_evaluation(program: Program, emulator: Emulator) -> None:
    emulator.requests.clear()
    result = program("flags", "evaluate", "ada", "--local", "-p", "plan=pro")
    assert {row["key"]: row["value"] for row in result.json} == {
        "beta": "b",
        "off": False,
        "paid": True,
    }
    assert all(row["local"] for row in result.json)
    assert emulator.requests[-1].path == "/flags/definitions"


def test_groups(program: Program, emulator: Emulator) -> None:
    flag = emulator.set_flag("group")
    test = {"key": "size", "type": "group", "operator": "gt", "value": 5, "group_type_index": 0}
    flag["filters"]["groups"][0]["properties"] = [test]
    flag["filters"]["aggregation_group_type_index"] = 0
    arguments = ("flags", "evaluate", "ada", "-k", "group", "--group", "company=acme")
    result = program(*arguments, "--group-property", "company.size=9")
    assert result.json[0]["value"] is True
    assert program(*arguments).json[0]["value"] is False


def test_an_exhausted_quota_is_an_error(program: Program, emulator: Emulator) -> None:
    emulator.state.settings.exhausted_quotas = frozenset({"feature_flags"})
    result = program("flags", "evaluate", "ada", "-k", "beta")
    assert result.status == 1
    assert result.json[0]["value"] is None
    assert result.json[0]["reason"] == "quota_limited"
    assert "quota of flag requests is exhausted" in result.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("",), "USER is empty"),
        (("ada", "--group", "company"), "--group takes NAME=VALUE"),
        (("ada", "--group", "a=1", "--group", "a=2"), "--group has a twice"),
        (("ada", "--group-property", "company.size=9"), "there is no such --group"),
        (("ada", "--group-property", "size=9"), "TYPE.NAME=VALUE"),
    ],
)
def test_wrong_usage(program: Program, arguments: tuple[str, ...], text: str) -> None:
    result = program("flags", "evaluate", *arguments)
    assert result.status == 2
    assert text in result.err


def test_help(program: Program) -> None:
    assert "evaluate" in program("flags", "--help").out
