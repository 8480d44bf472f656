"""Multipart bodies, byte for byte."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthog_emulator import Emulator, Upload
from posthog_emulator.http.errors import ApiError
from posthog_emulator.http.messages import Request
from posthog_emulator.schema.request_body import parse_body

pytestmark = pytest.mark.anyio


@pytest.fixture
def picture(tiny: Emulator) -> str:
    return f"/api/projects/1/widgets/{tiny.add('widgets')['id']}/picture/"


async def test_an_upload_is_parsed_and_logged(
    tiny: Emulator, tiny_http: httpx.AsyncClient, picture: str
) -> None:
    content = b"\x89PNG\r\n\x1a\n\r\n--\x00"
    answer = await tiny_http.post(
        picture,
        data={"title": "3", "width": "640", "frames": ["1", "2"]},
        files={"picture": ("ü b.png", content, "image/png")},
    )
    assert answer.status_code == 202, answer.text
    request = tiny.requests[-1]
    assert request.files == {"picture": [Upload("ü b.png", content, "image/png")]}
    assert request.body == {"title": "3", "width": "640", "frames": ["1", "2"]}


@pytest.mark.parametrize(
    ("data", "attr", "detail"),
    [
        ({}, "title", "This field is required."),
        ({"title": "a", "width": "wide"}, "width", "A valid integer is required."),
    ],
)
async def test_form_fields_are_validated(
    tiny_http: httpx.AsyncClient, picture: str, data: dict[str, str], attr: str, detail: str
) -> None:
    answer = await tiny_http.post(picture, data=data, files={"picture": b"x"})
    assert answer.status_code == 400
    assert (answer.json()["attr"], answer.json()["detail"]) == (attr, detail)


async def test_a_missing_file(tiny_http: httpx.AsyncClient, picture: str) -> None:
    answer = await tiny_http.post(picture, files={"title": (None, "a")})
    assert (answer.status_code, answer.json()["attr"]) == (400, "picture")


async def test_json_in_place_of_a_form(tiny_http: httpx.AsyncClient, picture: str) -> None:
    answer = await tiny_http.post(picture, json={"title": "a", "picture": "x"})
    assert answer.status_code == 415


def request(content_type: str, content: bytes) -> Request:
    return Request(
        method="POST",
        scheme="http",
        host="emulator",
        path="/",
        query=(),
        headers={"content-type": content_type},
        content=content,
    )


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx"),
        ("multipart/form-data; boundary=b", b"junk\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nno headers\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        ),
    ],
)
def test_a_malformed_form(content_type: str, content: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_body(request(content_type, content))
    assert (caught.value.status, caught.value.code) == (400, "parse_error")


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(files=st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=4))
def test_any_file_arrives_unchanged(files: dict[str, bytes]) -> None:
    parts: dict[str, Any] = {f"f{i}": (name, files[name]) for i, name in enumerate(files)}
    sent = httpx.Request("POST", "http://emulator/", files=parts)
    form = parse_body(request(sent.headers["content-type"], sent.read()))
    assert [upload.content for (upload,) in form.files.values()] == list(files.values())
