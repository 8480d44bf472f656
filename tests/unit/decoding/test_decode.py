"""Answers become models: tolerantly, or strictly, and never with something lost."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, RootModel, model_validator

from asyncposthog.decoding import decode, resolve_model
from asyncposthog.decoding.adapters import get_adapter
from asyncposthog.errors import DecodeError, SchemaDrift
from asyncposthog.model import Model
from asyncposthog.operation import Operation, Pagination, Result
from asyncposthog.pagination import cursor

GET = Operation(id="things.get", method="GET", path="/api/projects/{project_id}/things/{id}/")
POST = Operation(id="things.create", method="POST", path="/api/projects/{project_id}/things/")


class Part(Model):
    size: int
    made: datetime | None = None


class Square(Model):
    shape: Literal["square"] = "square"
    side: int


class Circle(Model):
    shape: Literal["circle"] = "circle"
    radius: int


Shape = Annotated[Square | Circle, Field(discriminator="shape")]


class Thing(Model):
    id: int
    name: str
    in_: Annotated[int | None, Field(alias="in")] = None
    part: Part
    parts: list[Part]
    numbers: list[int]
    by_name: dict[str, Part]
    shape: Shape
    either: int | list[str]
    mixed: int | Part | None = None
    pair: tuple[int, int] | None = None
    stage: Literal["alpha", "beta"] | str
    constant: Literal["x"]


class ThingList(Model):
    count: int
    results: list[Thing]


class Numbers(RootModel[list[Part]]):
    pass


class Picky(Model):
    low: int
    high: int

    @model_validator(mode="after")
    def check(self) -> Picky:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the models of this file in the place of the generated ones."""
    module = ModuleType("asyncposthog.models")
    for value in (Thing, ThingList, Numbers, Part, Picky):
        setattr(module, value.__name__, value)
    vars(module)["Shape"] = Shape
    monkeypatch.setitem(sys.modules, "asyncposthog.models", module)
    get_adapter.cache_clear()
    yield
    get_adapter.cache_clear()


GOOD: dict[str, Any] = {
    "id": 1,
    "name": "a",
    "part": {"size": 1},
    "parts": [{"size": 2, "made": "2026-01-01T00:00:00Z"}],
    "numbers": [1, 2],
    "by_name": {"x": {"size": 3}},
    "shape": {"shape": "circle", "radius": 1},
    "either": 4,
    "stage": "beta",
    "constant": "x",
}


def read(
    data: Any,
    model: str = "Thing",
    *,
    strict: bool = False,
    array: bool = False,
    operation: Operation = GET,
    media: str = "application/json",
) -> Any:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    result = Result(kind="model", model=model, array=array)
    return decode(result, content, strict=strict, operation=operation, media=media)


def drifted(data: Any, model: str = "Thing", **options: Any) -> tuple[Any, list[str]]:
    """Read what departs from the schema, and return the fields that were warned about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = read(data, model, **options)
    assert all(w.category is SchemaDrift for w in caught)
    messages = [str(w.message) for w in caught]
    assert all(m.startswith("things.") for m in messages)
    return value, [m.split(": ", 1)[1].split(" does not match")[0] for m in messages]


@pytest.mark.parametrize("strict", [False, True])
def test_a_good_answer(strict: bool) -> None:
    thing = read(GOOD, strict=strict)
    assert type(thing) is Thing
    assert thing.parts[0].made == datetime(2026, 1, 1, tzinfo=UTC)
    assert thing.raw() == GOOD


@pytest.mark.parametrize("strict", [False, True])
def test_arrays_and_types_that_are_no_models(strict: bool) -> None:
    assert [t.id for t in read([GOOD, GOOD], array=True, strict=strict)] == [1, 1]
    assert read({"shape": "square", "side": 1}, "Shape", strict=strict) == Square(side=1)
    assert read([{"size": 1}], "Numbers", strict=strict).root == [Part(size=1)]
    assert read([], array=True, strict=strict) == []


def test_the_model_is_found_by_its_name() -> None:
    assert resolve_model("Thing") is Thing
    with pytest.raises(AttributeError):
        resolve_model("Nothing")


def test_null_and_missing_and_unknown_are_taken_without_a_word() -> None:
    data = {"id": None, "new": 1, "shape": {"shape": "blob"}, "stage": "gamma", "numbers": [None]}
    thing, fields = drifted(data)
    assert fields == []
    assert (thing.id, thing.name, thing.new) == (None, None, 1)
    assert thing.raw() == data


DRIFT: list[tuple[str, Any, str]] = [
    ("id", "x", "id"),
    ("name", 5, "name"),
    ("name", {"a": 1}, "name"),
    ("in", "x", "in"),
    ("part", "x", "part"),
    ("part", {"size": "x", "made": "2026-01-01T00:00:00Z", "new": 1}, "part.size"),
    ("part", {"size": 1, "made": ""}, "part.made"),
    ("parts", {"a": 1}, "parts"),
    ("parts", [{"size": 1}, "x"], "parts[]"),
    ("parts", [{"size": 1}, {"size": "x"}], "parts[].size"),
    ("numbers", [1, "x", 3], "numbers[]"),
    ("by_name", {"a": {"size": "x"}, "b": {"size": 2}}, "by_name.a.size"),
    ("by_name", {"a": 5}, "by_name.a"),
    ("shape", {"shape": "square", "side": "x", "new": 2}, "shape.side"),
    ("shape", "x", "shape"),
    ("either", {"a": 1}, "either"),
    ("either", {"int": 1}, "either"),
    ("mixed", {"size": "x", "made": "2026-01-01T00:00:00Z"}, "mixed.size"),
    ("mixed", [1], "mixed"),
    ("pair", ["x", "y"], "pair"),
    ("constant", "y", "constant"),
    ("constant", None, "constant"),
]


@pytest.mark.parametrize(("name", "value", "field"), DRIFT)
def test_what_does_not_fit_is_handed_over_raw_with_a_warning(
    name: str, value: Any, field: str
) -> None:
    data = {**GOOD, name: value}
    thing, fields = drifted(data)
    assert type(thing) is Thing
    assert fields == [field]
    assert thing.raw() == data
    if not isinstance(value, dict | list) and name not in ("part", "shape"):
        thing.model_dump()  # draws no warning
    # Everything else is typed as ever.
    if name != "parts":
        assert thing.parts[0].made == datetime(2026, 1, 1, tzinfo=UTC)
    page, fields = drifted({"count": 2, "results": [GOOD, data]}, "ThingList")
    assert fields == [f"results[].{field}"]
    assert page.results[0] == read(GOOD)
    assert page.raw() == {"count": 2, "results": [GOOD, data]}
    things, fields = drifted([data, GOOD], array=True)
    assert fields == [f"[].{field}"]
    assert [t.raw() for t in things] == [data, GOOD]


@pytest.mark.parametrize(("name", "value", "field"), DRIFT)
def test_strict_names_the_field(name: str, value: Any, field: str) -> None:
    with pytest.raises(DecodeError, match="does not match the schema in") as caught:
        read({**GOOD, name: value}, strict=True)
    first = str(caught.value).split(": ")[1]
    assert first.split("[")[0].split(".")[0] == field.split("[")[0].split(".")[0]
    assert caught.value.operation == "things.get"
    assert "strict" in (caught.value.suggestion or "")


def test_several_at_once_are_each_warned_about_once() -> None:
    bad = {**GOOD, "id": "x", "part": {"size": "y"}}
    page, fields = drifted({"count": "z", "results": [bad, GOOD, bad]}, "ThingList")
    assert fields == ["count", "results[].id", "results[].part.size"]
    assert [t.id for t in page.results] == ["x", 1, "x"]


def test_a_warning_is_shown_at_the_callers_line_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            read({**GOOD, "id": "x"})
    assert [w.filename for w in caught] == [__file__]
    text = str(caught[0].message)
    assert "things.get: id does not match the schema" in text
    assert "got a string" in text


@pytest.mark.anyio
async def test_a_warning_from_an_iteration_is_shown_at_the_callers_line() -> None:
    async def fetch(query: Mapping[str, Any] | None, body: Any) -> bytes:
        offset = int((query or {}).get("offset", 0))
        link = f"?offset={offset + 2}" if offset < 6 else None
        ids = [{**GOOD, "id": f"x{offset + n}"} for n in range(2)]
        return json.dumps({"count": 8, "results": ids, "next": link}).encode()

    operation = Operation(
        id="things.list",
        method="GET",
        path="/api/projects/{project_id}/things/",
        result=Result(kind="model", model="ThingList"),
        pagination=Pagination(style="offset"),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        things = [thing async for thing in cursor(fetch, operation, concurrency=2)]
    assert [thing.id for thing in things] == [f"x{n}" for n in range(8)]
    assert [(w.filename, w.category) for w in caught] == [(__file__, SchemaDrift)]


def test_no_value_stands_in_a_warning() -> None:
    secret = "someone@example.com"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read({**GOOD, "id": secret, "either": {secret: secret}, "constant": secret})
    assert len(caught) == 3
    assert not any(secret in str(w.message) for w in caught)


@pytest.mark.parametrize("data", [[1], "x", 5, True, None])
@pytest.mark.parametrize("model", ["Thing", "Shape"])
def test_another_kind_of_json_is_handed_over_as_it_is(data: Any, model: str) -> None:
    value, fields = drifted(data, model)
    if data is None and model == "Shape":
        return
    assert value == data
    assert fields == ["the whole response"]
    with pytest.raises(DecodeError, match="the response"):
        read(data, model, strict=True)


def test_an_object_in_place_of_an_array_is_handed_over_as_it_is() -> None:
    assert drifted({"a": 1}, array=True) == ({"a": 1}, ["the whole response"])
    assert drifted([5], "Numbers") == ([5], ["the whole response"])


def test_a_model_of_the_users_own_that_refuses_is_built_from_raw_data() -> None:
    picky, fields = drifted({"low": 2, "high": 1, "new": 3}, "Picky")
    assert type(picky) is Picky
    assert fields == ["the whole response"]
    assert picky.raw() == {"low": 2, "high": 1, "new": 3}


def test_strict_lists_everything() -> None:
    data = {"id": "1", "name": None, "part": {}, "shape": {"shape": "blob"}, "numbers": [1.5]}
    with pytest.raises(DecodeError) as caught:
        read(data, strict=True)
    message = caught.value.message
    for part in (
        "in 10 places",
        "id: input should be a valid integer, got a string",
        "numbers[0]: input should be a valid integer",
        "name: expected str, got null",
        "part.size: missing",
        "shape: expected Square or Circle, got an object of no known variant",
        "parts: missing",
    ):
        assert part in message


def test_strict_shortens_a_long_list() -> None:
    with pytest.raises(DecodeError, match=r"in 30 places: .*; and 10 more"):
        read([{"size": None}] * 30, "Part", array=True, strict=True)


HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("content", "media", "message"),
    [
        (HTML, "text/html", "web page"),
        (HTML, "application/json", "web page"),
        (HTML, "", "web page"),
        (b'{"id": 1, "name": "a', "application/json", "is not JSON: EOF .* line 1 column 20"),
        (b"{'id': 1}", "application/json", "near \"{'id': 1}\""),
        (b"OK", "text/plain; charset=utf-8", r"text/plain, 2 bytes\) is not JSON"),
        (b"\xff\xfe", "application/json", "not JSON"),
        (b"", "application/json", "empty"),
        (b" \n", "", "empty"),
        (b"[" * 5000, "application/json", "not JSON"),
    ],
)
def test_what_is_no_json_is_an_error(
    content: bytes, media: str, message: str, strict: bool
) -> None:
    with pytest.raises(DecodeError, match=message) as caught:
        read(content, media=media, strict=strict)
    assert caught.value.operation == "things.get"
    assert str(caught.value.request) == "GET /api/projects/{project_id}/things/{id}/"
    assert caught.value.suggestion
    assert len(caught.value.message) < 300


def test_the_excerpt_is_of_the_place_and_without_keys() -> None:
    content = (
        b'{"a": "' + b"x" * 500 + b'",\n "token": "phx_0123456789abcdef", nonsense' + b"y" * 500
    )
    with pytest.raises(DecodeError) as caught:
        read(content)
    message = caught.value.message
    assert "line 2" in message
    assert "nonsense" in message
    assert "phx_***" in message
    assert "0123456789" not in message
    assert "x" * 100 not in message


def test_an_empty_answer_to_a_write_is_a_drift() -> None:
    assert drifted(b"", operation=POST) == (None, ["the whole response"])


def plain(kind: Any, content: bytes, media: str = "application/json", declared: str = "") -> Any:
    result = Result(kind=kind, media=declared or "application/json")
    return decode(result, content, strict=False, operation=GET, media=media)


@pytest.mark.parametrize("kind", ["none", "json"])
@pytest.mark.parametrize(
    ("content", "media", "expected"),
    [
        (b"", "", None),
        (b" \r\n", "application/json", None),
        (b'{"a": [1, null]}', "application/json", {"a": [1, None]}),
        (b"3", "text/plain", 3),
        (b"null", "application/json", None),
        (b"Ok", "text/plain; charset=utf-8", "Ok"),
        (b"a,b\n1,2\n", "text/csv", "a,b\n1,2\n"),
        (b"\x89PNG", "image/png", b"\x89PNG"),
    ],
)
def test_where_nothing_is_declared_whatever_came_is_returned(
    kind: str, content: bytes, media: str, expected: Any
) -> None:
    assert plain(kind, content, media) == expected


@pytest.mark.parametrize("kind", ["none", "json", "text", "bytes"])
def test_a_web_page_is_never_data(kind: str) -> None:
    with pytest.raises(DecodeError, match="web page"):
        plain(kind, HTML, "text/html", "text/csv")


def test_a_web_page_that_is_declared_is_text() -> None:
    assert plain("text", HTML, "text/html", "text/html") == HTML.decode()


@pytest.mark.parametrize(
    ("content", "media"),
    [(b"{cut", "application/json"), (b"{cut", ""), (b"x", "application/problem+json")],
)
def test_undeclared_json_that_is_broken_is_an_error(content: bytes, media: str) -> None:
    with pytest.raises(DecodeError, match="not JSON"):
        plain("json", content, media)


def test_text_and_bytes() -> None:
    assert plain("bytes", b"\x00\xff", "image/png") == b"\x00\xff"
    assert plain("text", "é".encode(), "text/csv") == "é"
    assert plain("text", "é".encode("latin-1"), 'text/csv; charset="latin-1"') == "é"
    assert plain("text", b"{}", "application/json") == "{}"
    for media in ("text/csv", "text/csv; charset=klingon"):
        with pytest.raises(DecodeError, match="not text"):
            plain("text", b"\xff", media)


json_values: st.SearchStrategy[Any] = st.recursive(
    # No text that reads as a number: it would become one. (`True == 1` to Python.)
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "y", "alpha"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*GOOD, "size", "side", "mixed", "pair"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(data=st.dictionaries(st.sampled_from([*GOOD, "in", "new"]), json_values, max_size=6))
def test_no_json_object_is_refused_and_none_of_it_is_lost(data: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SchemaDrift)
        thing = read(data)
    assert type(thing) is Thing
    assert thing.raw() == data


@settings(deadline=None)
@given(data=json_values)
def test_no_json_at_all_is_refused(data: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SchemaDrift)
        for model in ("Thing", "ThingList", "Shape", "Numbers"):
            for array in (False, True):
                read(data, model, array=array)
