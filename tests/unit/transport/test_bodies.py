"""Bodies: what JSON and forms are made of."""

from __future__ import annotations

import enum
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from asyncposthog.operation import Body, Operation
from asyncposthog.transport.encoding.json_body import encode_json
from asyncposthog.transport.encoding.multipart import encode_multipart
from asyncposthog.transport.encoding.request import PreparedRequest, prepare_request
from asyncposthog.types import OMIT
from tests.helpers.fake_transport import new_call

NAIVE = datetime(2026, 1, 2)


class Colour(enum.Enum):
    RED = "red"


class Filter(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)

    kind_: Literal["x", "y"] = Field(alias="kind")
    value: Any = None
    colour: Colour | None = None


def request(method: str = "POST", **body: Any) -> Operation:
    return Operation(
        id="things.create",
        method=method,
        path="/",
        owner=None,
        body=Body(**body),
    )


def prepare(
    operation: Operation, body: object = OMIT, extra: dict[str, Any] | None = None
) -> PreparedRequest:
    call = new_call(operation, (), body)
    return prepare_request(replace(call, options=replace(call.options, body=extra)), None)


def sent(value: object, extra: dict[str, Any] | None = None, **operation: Any) -> Any:
    prepared = prepare(request(**operation), value, extra)
    assert prepared.content is not None
    assert ("Content-Type", "application/json") in prepared.headers
    return json.loads(prepared.content)


def test_plain_values() -> None:
    assert sent({"a": None, "b": OMIT, "c": [1, "x", True], "d": {"e": 1.5, "f": OMIT}}) == {
        "a": None,
        "c": [1, "x", True],
        "d": {"e": 1.5},
    }


def test_values_that_json_lacks() -> None:
    assert sent(
        {
            "at": datetime(2026, 1, 2, 3, tzinfo=UTC),
            "day": date(2026, 1, 2),
            "id": UUID(int=1),
            "amount": Decimal("1.50"),
            "colour": Colour.RED,
            "tags": {"only"},
            "pair": (1, 2),
            Colour.RED: 1,
        }
    ) == {
        "at": "2026-01-02T03:00:00+00:00",
        "day": "2026-01-02",
        "id": "00000000-0000-0000-0000-000000000001",
        "amount": "1.50",
        "colour": "red",
        "tags": ["only"],
        "pair": [1, 2],
        "red": 1,
    }


def test_models_anywhere() -> None:
    model = Filter(kind="x", colour=Colour.RED, **{"new field": 1})
    assert sent({"filters": [{"deep": model}]}) == {
        "filters": [{"deep": {"kind": "x", "colour": "red", "new field": 1}}]
    }
    assert sent(Filter(kind="y", value=None)) == {"kind": "y", "value": None}


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        ({"a": {"b": [1, NAIVE]}}, ValueError, "body.a.b[1] is a datetime without a time zone"),
        ({"a": Filter(kind="x", value=NAIVE)}, ValueError, "body.a.value is a datetime without"),
        ({"a": Filter(kind="x", value=[{"b": NAIVE}])}, ValueError, "body.a.value[0].b is"),
        ({"a": float("nan")}, ValueError, "body.a is nan"),
        ({"a": float("-inf")}, ValueError, "body.a is -inf"),
        ({"a": Filter(kind="x", value=float("inf"))}, ValueError, "body.a.value is inf"),
        ({"a": b"x"}, TypeError, "body.a is bytes"),
        ({"a": Filter(kind="x", value=b"x")}, TypeError, "body.a.value is bytes"),
        ({"a": object()}, TypeError, "body.a is a object"),
        ({1.5: 1}, TypeError, "keys of JSON objects are strings"),
        ({"a": "\ud800"}, ValueError, "cannot be written as JSON"),
    ],
)
def test_refused(value: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        sent(value)
    assert says in str(caught.value)
    assert str(caught.value).startswith("things.create: body")


def test_no_body() -> None:
    prepared = prepare(request())
    assert prepared == PreparedRequest("POST", "/")


def test_a_flat_body_of_nothing_is_an_empty_object() -> None:
    assert sent({"name": OMIT}) == {}


def test_fixed_bodies() -> None:
    operation = Operation(
        id="things.delete",
        method="PATCH",
        path="/",
        owner=None,
        fixed_body={"deleted": True},
    )
    assert prepare(operation).content == b'{"deleted":true}'
    assert prepare(operation, extra={"key": "k"}).content == (b'{"deleted":true,"key":"k"}')


def test_extra_fields() -> None:
    assert sent({"a": 1}, {"b": 2, "a": 3}) == {"a": 3, "b": 2}
    assert sent(OMIT, {"b": 2}) == {"b": 2}
    assert sent(Filter(kind="x"), {"b": 2}) == {"kind": "x", "b": 2}
    with pytest.raises(TypeError, match="needs a JSON object"):
        sent([1], {"b": 2})


def test_a_get_has_no_body() -> None:
    with pytest.raises(TypeError, match="a GET request has no body"):
        sent({"a": 1}, method="GET")


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=20,
)


@given(_JSON)
def test_json_round_trip(value: Any) -> None:
    assert json.loads(encode_json(value)) == value


def form(**values: Any) -> PreparedRequest:
    operation = request(media="multipart", flat=True, files=("file", "more"))
    return prepare(operation, values)


async def parts(**values: Any) -> dict[str, tuple[str | None, str | None, bytes]]:
    """Return (file name, media type, content) by field, read by Python's own parser."""
    import email.parser
    import email.policy

    prepared = form(**values)
    assert prepared.multipart is not None
    content, media = await encode_multipart(prepared.multipart)
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {media}\r\n\r\n".encode() + content
    )
    found: dict[str, tuple[str | None, str | None, bytes]] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        kind = part.get_content_type() if part.get_filename() else None
        payload: Any = part.get_payload(decode=True)
        found[str(name)] = (part.get_filename(), kind, payload)
    return found


@pytest.mark.anyio
async def test_forms(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    with path.open("rb") as opened:
        opened.read(1)
        found = await parts(
            file=opened, more=path, a=1, b=True, c=None, d={"e": [1]}, f="x", g=OMIT
        )
        assert not opened.closed
    assert found == {
        "file": ("a.json", "application/json", b"}"),
        "more": ("a.json", "application/json", b"{}"),
        "a": (None, None, b"1"),
        "b": (None, None, b"true"),
        "c": (None, None, b""),
        "d": (None, None, b'{"e":[1]}'),
        "f": (None, None, b"x"),
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"abc", ("file", "application/octet-stream", b"abc")),
        (bytearray(b"abc"), ("file", "application/octet-stream", b"abc")),
        (io.BytesIO(b"abc"), ("file", "application/octet-stream", b"abc")),
        (("n.csv", b"abc"), ("n.csv", "text/csv", b"abc")),
        (("n.csv", io.BytesIO(b"abc"), "text/x"), ("n.csv", "text/x", b"abc")),
        (('a"b.txt', b""), ("a%22b.txt", "text/plain", b"")),
    ],
)
async def test_files(value: object, expected: tuple[str, str, bytes]) -> None:
    assert (await parts(file=value))["file"] == expected


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        ("a.txt", TypeError, "pathlib.Path"),
        (1, TypeError, "must be bytes"),
        (("name",), TypeError, "(name, content)"),
        ((b"name", b"content"), TypeError, "(name, content)"),
        (("a\r\nb", b"x"), ValueError, "control characters"),
        (("a", b"x", "text/plain\r\nX: y"), ValueError, "control characters"),
    ],
)
def test_refused_files(value: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        form(file=value)
    assert says in str(caught.value)
    assert "things.create: file" in str(caught.value)


@pytest.mark.anyio
async def test_files_are_opened_late() -> None:
    prepared = form(file=Path("/nonexistent/file"))
    assert prepared.multipart is not None
    with pytest.raises(FileNotFoundError):
        await encode_multipart(prepared.multipart)


@pytest.mark.anyio
async def test_a_text_file_is_refused() -> None:
    prepared = form(file=io.StringIO("x"))
    assert prepared.multipart is not None
    with pytest.raises(TypeError, match="binary mode"):
        await encode_multipart(prepared.multipart)
