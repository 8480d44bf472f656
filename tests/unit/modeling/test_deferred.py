"""Unions whose variants are imported and built when a value has them."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import Field, ValidationError

from asyncposthog.decoding import decode
from asyncposthog.decoding.adapters import get_adapter
from asyncposthog.errors import DecodeError, SchemaDrift
from asyncposthog.model import Model
from asyncposthog.modeling.deferred import deferred_union
from asyncposthog.operation import Operation, Result

PACKAGE = "deferred_example"
GET = Operation(id="things.get", method="GET", path="/api/things/", package=PACKAGE)


@pytest.fixture
def models() -> Iterator[Any]:
    """A module of new classes, so that each test starts with none of them built."""
    module: Any = ModuleType(f"{PACKAGE}.models")
    variants: dict[str | int, str] = {"square": "Square", "circle": "Circle"}
    shape = deferred_union(f"{PACKAGE}.models.things", "shape", "shape_", variants)

    class Square(Model):
        shape_: Annotated[str, Field(alias="shape")]
        side: int
        made: datetime | None = None
        id: UUID | None = None

    class Circle(Model):
        shape_: Annotated[str, Field(alias="shape")]
        radius: int
        inner: shape | None = None  # pyright: ignore[reportInvalidTypeForm]

    class Drawing(Model):
        main: shape  # pyright: ignore[reportInvalidTypeForm]
        others: list[shape | None] | None = None  # pyright: ignore[reportInvalidTypeForm]

    for cls in (Square, Circle, Drawing):
        setattr(module, cls.__name__, cls)
    sys.modules[PACKAGE] = ModuleType(PACKAGE)
    sys.modules[f"{PACKAGE}.models"] = module
    get_adapter.cache_clear()
    yield module
    del sys.modules[PACKAGE], sys.modules[f"{PACKAGE}.models"]
    get_adapter.cache_clear()


def read(data: object, *, strict: bool = False) -> Any:
    content = json.dumps(data).encode()
    result = Result(kind="model", model="Drawing")
    return decode(result, content, strict=strict, operation=GET, media="application/json")


def test_only_the_variant_that_the_data_names_is_built(models: Any) -> None:
    drawing = read({"main": {"shape": "square", "side": 2}})
    assert isinstance(drawing.main, models.Square)
    assert drawing.main.side == 2
    assert models.Square.__pydantic_complete__
    assert not models.Circle.__pydantic_complete__


def test_variants_are_read_in_lists_and_in_each_other(models: Any) -> None:
    inner = {"shape": "square", "side": 1}
    drawing = read({"main": {"shape": "circle", "radius": 3, "inner": inner}, "others": [inner]})
    assert isinstance(drawing.main.inner, models.Square)
    assert isinstance(drawing.others[0], models.Square)
    assert drawing.raw()["main"] == {"shape": "circle", "radius": 3, "inner": inner}


@pytest.mark.parametrize("value", [{"shape": "cone", "height": 1}, {"shape": [1]}, {"new": 1}])
def test_an_unknown_variant_stays_a_dict(models: Any, value: dict[str, Any]) -> None:
    assert read({"main": value}).main == value


def test_without_a_tag_the_required_fields_select_the_variant(models: Any) -> None:
    assert isinstance(read({"main": {"shape_": "circle", "radius": 1}}).main, models.Circle)


def test_null_is_accepted(models: Any) -> None:
    assert read({"main": None}).main is None


def test_a_model_of_the_union_can_be_given(models: Any) -> None:
    square = models.Square(shape_="square", side=1)
    assert models.Drawing(main=square).main is square
    drawing = models.Drawing(main={"shape": "square", "side": 1})
    assert isinstance(drawing.main, models.Square)
    with pytest.raises(ValidationError, match="a model of the union"):
        models.Drawing(main=models.Drawing(main=square))


def test_a_mismatch_is_named_and_its_value_kept(models: Any) -> None:
    with pytest.warns(SchemaDrift, match=r"main\.side"):
        drawing = read({"main": {"shape": "square", "side": "wide"}})
    assert isinstance(drawing.main, models.Square)
    assert drawing.main.side == "wide"
    with pytest.warns(SchemaDrift, match="main"):
        assert read({"main": "text"}).main == "text"


def test_strict_reading_accepts_the_text_of_times_and_ids(models: Any) -> None:
    text = {"made": "2026-01-02T03:04:05Z", "id": str(UUID(int=1))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = read({"main": {"shape": "square", "side": 1, **text}}, strict=True)
    assert drawing.main.made == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert drawing.main.id == UUID(int=1)


@pytest.mark.parametrize(
    ("main", "says"),
    [
        ({"shape": "square"}, r"main\.side: missing"),
        ({"shape": "square", "side": "1"}, r"main\.side"),
        ({"shape": "cone"}, "main: expected Square or Circle, got an object of no known variant"),
    ],
)
def test_strict_reading_names_mismatches(models: Any, main: dict[str, Any], says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        read({"main": main}, strict=True)


def test_json_schema_names_the_variants(models: Any) -> None:
    schema = models.Drawing.model_json_schema()
    assert "square" in json.dumps(schema["properties"]["main"])
