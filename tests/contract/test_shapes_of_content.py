"""Uploads, and answers that are no models: text, bytes, nothing, and what nobody declared."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from asyncposthog import models

from .server import Server, connect

pytestmark = pytest.mark.anyio

RECORDING = "0195f2a0-0000-7000-8000-0000000000aa"


async def test_upload(server: Server, tmp_path: Path) -> None:
    server.answers({"id": "m1", "image_location": "/media/m1", "name": "a.png"}, status=201)
    image = tmp_path / "a.png"
    image.write_bytes(b"\x89PNG\r\n")
    async with connect() as ph:
        made = await ph.uploaded_media.upload(image=image)
    seen = server.only
    assert seen.line == "POST /api/projects/7/uploaded_media/"
    boundary = boundary_of(seen.headers)
    assert (
        seen.content
        == (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="image"; filename="a.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        ).encode()
        + b"\x89PNG\r\n"
        + f"\r\n--{boundary}--\r\n".encode()
    )
    assert type(made) is models.UploadedMediaUploadResponse


async def test_upload_among_other_fields(server: Server) -> None:
    server.answers({"id": RECORDING, "summary": "s"}, status=201)
    async with connect() as ph:
        await ph.user_interviews.create(
            audio=("call.mp3", b"ID3", "audio/mpeg"), interviewee_emails=["a@x.io", "b@x.io"]
        )
    seen = server.only
    assert seen.line == "POST /api/projects/7/user_interviews/"
    boundary = boundary_of(seen.headers)
    email = f'--{boundary}\r\nContent-Disposition: form-data; name="interviewee_emails"\r\n\r\n'
    assert seen.content.decode() == (
        f"{email}a@x.io\r\n{email}b@x.io\r\n"
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="audio"; filename="call.mp3"\r\n'
        "Content-Type: audio/mpeg\r\n\r\nID3\r\n"
        f"--{boundary}--\r\n"
    )


def boundary_of(headers: httpx.Headers) -> str:
    found = re.fullmatch(r"multipart/form-data; boundary=([0-9a-f]{32})", headers["Content-Type"])
    assert found
    return found[1]


async def test_text(server: Server) -> None:
    lines = '["0195", {"type": 2}]\n["0195", {"type": 3}]\n'
    server.answers_with(httpx.Response(200, text=lines))
    async with connect() as ph:
        text = await ph.session_recordings.snapshots(RECORDING, source="blob_v2", blob_v2=True)
    assert server.only.line == (
        f"GET /api/projects/7/session_recordings/{RECORDING}/snapshots/?blob_v2=true&source=blob_v2"
    )
    assert server.only.headers["Accept"].startswith("text/plain")
    assert text == lines


async def test_bytes(server: Server) -> None:
    image = bytes(range(256))
    server.answers_with(httpx.Response(200, content=image, headers={"Content-Type": "image/png"}))
    async with connect() as ph:
        assert await ph.exports.content(12) == image
    assert server.only.line == "GET /api/projects/7/exports/12/content/"
    assert server.only.headers["Accept"].startswith("*/*")


async def test_csv_as_a_stream(server: Server) -> None:
    content = "id,email\r\n1,a@x.io\r\n"
    server.answers_with(httpx.Response(200, text=content, headers={"Content-Type": "text/csv"}))
    async with connect() as ph, ph.stream(ph.persons.list, format="csv") as answer:
        lines = [line async for line in answer.aiter_lines()]
    assert server.only.line == "GET /api/projects/7/persons/?format=csv"
    assert lines == ["id,email", "1,a@x.io"]


async def test_no_content(server: Server) -> None:
    server.answers_with(httpx.Response(202), httpx.Response(202))
    async with connect() as ph:
        await ph.persons.update("11", properties={"plan": None})
        await ph.persons.update_property("11", key="plan", value=["a", 1])
    assert [(seen.line, seen.content) for seen in server.seen] == [
        ("PATCH /api/projects/7/persons/11/", b'{"properties":{"plan":null}}'),
        ("POST /api/projects/7/persons/11/update_property/", b'{"key":"plan","value":["a",1]}'),
    ]


async def test_wire_names_that_are_no_python_names(server: Server) -> None:
    server.answers({"success": True}, status=201)
    async with connect() as ph:
        done = await ph.persons.delete_property("11", unset="plan")
    assert server.only.line == "POST /api/projects/7/persons/11/delete_property/"
    assert server.only.content == b'{"$unset":"plan"}'
    assert done.success is True


@pytest.mark.parametrize("answer", [{"count": 4}, [], 4, "x", None, True])
async def test_undeclared_json_is_handed_over(server: Server, answer: object) -> None:
    headers = {"Content-Type": "application/json"}
    content = httpx.Response(200, json=answer).content or b"null"
    server.answers_with(httpx.Response(200, content=content, headers=headers))
    async with connect() as ph:
        assert await ph.comments.count() == answer
    assert server.only.line == "GET /api/projects/7/comments/count/"


async def test_undeclared_answer_without_content(server: Server) -> None:
    server.answers_with(httpx.Response(200))
    async with connect() as ph:
        assert await ph.comments.count() is None
