"""Validation of bodies and parameters, with the error messages of the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

from . import widget_api

pytestmark = pytest.mark.anyio
Connect = Callable[..., httpx.AsyncClient]

WIDGETS = "/api/projects/1/widgets/"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "code", "detail", "attr"),
    [
        ({}, "required", "This field is required.", "name"),
        ({"name": None}, "null", "This field may not be null.", "name"),
        ({"name": ""}, "blank", "This field may not be blank.", "name"),
        ({"name": 3}, "invalid_input", "Not a valid string.", "name"),
        (
            {"name": "a" * 21},
            "max_length",
            "Ensure this field has no more than 20 characters.",
            "name",
        ),
        ({"name": "a", "kind": "flat"}, "invalid_choice", '"flat" is not a valid choice.', "kind"),
        ({"name": "a", "size": "1"}, "invalid_input", "A valid integer is required.", "size"),
        ({"name": "a", "size": True}, "invalid_input", "A valid integer is required.", "size"),
        (
            {"name": "a", "size": -1},
            "min_value",
            "Ensure this value is greater than or equal to 0.",
            "size",
        ),
        (
            {"name": "a", "size": 101},
            "max_value",
            "Ensure this value is less than or equal to 100.",
            "size",
        ),
        ({"name": "a", "active": "yes"}, "invalid_input", "Must be a valid boolean.", "active"),
        (
            {"name": "a", "tags": "x"},
            "not_a_list",
            'Expected a list of items but got type "str".',
            "tags",
        ),
        ({"name": "a", "tags": ["x", 1]}, "invalid_input", "Not a valid string.", "tags__1"),
        (
            {"name": "a", "tags": ["x"] * 4},
            "max_length",
            "Ensure this field has no more than 3 elements.",
            "tags",
        ),
        ({"name": "a", "owner": "me"}, "invalid_input", "Must be a valid UUID.", "owner"),
        ({"name": "a", "owner": 1}, "invalid_input", "Not a valid string.", "owner"),
        (
            {"name": "a", "contact": "me"},
            "invalid_input",
            "Enter a valid email address.",
            "contact",
        ),
        (
            {"name": "a", "shape": {"type": "circle"}},
            "required",
            "This field is required.",
            "shape__radius",
        ),
        (
            {"name": "a", "shape": {"type": "box", "sides": [1]}},
            "min_length",
            "Ensure this field has at least 2 elements.",
            "shape__sides",
        ),
        (
            {"name": "a", "shape": {"type": "circle", "radius": 1, "area": 3}},
            "invalid_input",
            "Unexpected field 'area'.",
            "shape__area",
        ),
        (
            ["a"],
            "invalid_input",
            "Invalid data. Expected a dictionary, but got list.",
            None,
        ),
    ],
)
async def test_the_first_error_is_returned(
    tiny_http: httpx.AsyncClient, body: Any, code: str, detail: str, attr: str | None
) -> None:
    answer = await tiny_http.post(WIDGETS, json=body)
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "validation_error",
        "code": code,
        "detail": detail,
        "attr": attr,
    }


async def test_only_one_of_several_errors_is_returned(tiny_http: httpx.AsyncClient) -> None:
    answer = await tiny_http.post(WIDGETS, json={"size": "x", "active": "y"})
    assert answer.json()["attr"] == "active", "fields in the order of their names"


async def test_an_unknown_variant_of_a_union(tiny_http: httpx.AsyncClient) -> None:
    answer = await tiny_http.post(WIDGETS, json={"name": "a", "shape": {"type": "star"}})
    assert (answer.status_code, answer.json()["attr"]) == (400, "shape")


async def test_a_required_body_that_is_missing(tiny_http: httpx.AsyncClient) -> None:
    answer = await tiny_http.post(WIDGETS)
    assert answer.json()["code"] == "required"


async def test_a_patch_needs_no_required_field(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    item = f"{WIDGETS}{tiny.add('widgets')['id']}/"
    assert (await tiny_http.patch(item, json={"size": 2})).status_code == 200
    assert (await tiny_http.patch(item, json={"size": "2"})).status_code == 400


@pytest.mark.parametrize("content", [b"{", b"nothing", b'{"size": NaN}', b"\xff\xfe"])
async def test_invalid_json(tiny_http: httpx.AsyncClient, content: bytes) -> None:
    answer = await tiny_http.post(WIDGETS, content=content, headers=JSON)
    assert answer.status_code == 400
    problem = answer.json()
    assert (problem["type"], problem["code"]) == ("invalid_request", "parse_error")
    assert problem["detail"].startswith("JSON parse error - ")


async def test_an_unsupported_media_type(tiny_http: httpx.AsyncClient) -> None:
    answer = await tiny_http.post(WIDGETS, content=b"a", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert answer.json() == {
        "type": "invalid_request",
        "code": "unsupported_media_type",
        "detail": 'Unsupported media type "text/plain" in request.',
        "attr": None,
    }


async def test_a_form_in_place_of_json(tiny: Emulator, tiny_http: httpx.AsyncClient) -> None:
    answer = await tiny_http.post(WIDGETS, data={"name": "a"})
    assert answer.status_code == 415
    tiny.settings.strict = False
    answer = await tiny_http.post(WIDGETS, data={"name": "a", "size": "4", "active": "false"})
    assert answer.status_code == 201
    assert (answer.json()["size"], answer.json()["active"]) == (4, False)


async def test_a_body_that_is_too_large(tiny_http: httpx.AsyncClient) -> None:
    content = json.dumps({"name": "a" * 20_971_520}).encode()
    answer = await tiny_http.post(WIDGETS, content=content, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["type"] == "invalid_request"


@pytest.mark.parametrize(
    ("params", "attr", "detail"),
    [
        ({"colour": "red"}, "colour", "unknown query parameter 'colour'"),
        ({"limit": "ten"}, "limit", "A valid integer is required."),
        ({"limit": "-1"}, "limit", "A valid integer is required."),
        ({"offset": "1.5"}, "offset", "A valid integer is required."),
        ({"size": "1_0"}, "size", "A valid integer is required."),
        ({"ratio": "nan"}, "ratio", "A valid number is required."),
        ({"active": "yes"}, "active", "Must be a valid boolean."),
        ({"kind": "flat"}, "kind", "flat is not one of the available choices."),
        ({"since": "2026-13-01"}, "since", "Datetime has wrong format."),
        ({"owner": "me"}, "owner", "Must be a valid UUID."),
        ({"size": ["1", "2"]}, "size", "more than once"),
    ],
)
async def test_an_incorrect_query_parameter(
    tiny: Emulator, tiny_http: httpx.AsyncClient, params: Any, attr: str, detail: str
) -> None:
    refused = await tiny_http.get(WIDGETS, params=params)
    assert refused.status_code == 400
    assert refused.json()["attr"] == attr
    assert detail in refused.json()["detail"]

    tiny.settings.strict = False
    assert (await tiny_http.get(WIDGETS, params=params)).status_code == 200
    assert len(tiny.warnings) == 2
    assert all(detail in warning for warning in tiny.warnings)


@pytest.mark.parametrize(
    "params",
    [
        {"active": "true"},
        {"active": "0"},
        {"ratio": "1.5"},
        {"size": "-1"},
        {"since": "-7d"},
        {"since": "2026-01-01"},
        {"since": "2026-01-01T00:00:00+02:00"},
        {"force": ""},
        {"format": "json"},
        {"limit": "0"},
    ],
)
async def test_a_correct_query_parameter(
    tiny: Emulator, tiny_http: httpx.AsyncClient, params: dict[str, str]
) -> None:
    assert (await tiny_http.get(WIDGETS, params=params)).status_code == 200
    assert tiny.warnings == []


async def test_a_required_query_parameter(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/projects/1/persons/cohorts/")
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["attr"]) == ("required", "person_id")


async def test_a_header_parameter(tiny_http: httpx.AsyncClient) -> None:
    good = {"X-Widget-Run": "018f0000-0000-7000-8000-0000000000aa"}
    assert (await tiny_http.get(WIDGETS, headers=good)).status_code == 200
    answer = await tiny_http.get(WIDGETS, headers={"X-Widget-Run": "first"})
    assert (answer.status_code, answer.json()["attr"]) == (400, "X-Widget-Run")


async def test_an_undeclared_body_gives_a_warning(
    tiny: Emulator, tiny_http: httpx.AsyncClient
) -> None:
    one = tiny.add("widgets")["id"]
    answer = await tiny_http.post(f"{WIDGETS}{one}/polish/", json={"cloth": "soft"})
    assert answer.status_code == 200
    assert tiny.warnings == ["widgets.polish: a body was sent, but none is declared"]


def test_a_missing_jsonschema_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jsonschema", None)
    with pytest.raises(ImportError, match=r"asyncposthog\[emulator\]"):
        Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS)
