"""Request bodies: JSON, URL-encoded and multipart, read into fields and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from typing import Any, NoReturn, cast
from urllib.parse import parse_qsl

from posthog_emulator.http.errors import ApiError, parse_error, unsupported_media
from posthog_emulator.http.messages import Request
from posthog_emulator.json_types import as_object, is_array
from posthog_emulator.schema.catalogue import Catalogue, Schema

__all__ = ["MAX_BODY", "Form", "Upload", "media_type", "read_form", "typed_fields"]

MAX_BODY = 20_971_520
"""Bytes of body the server takes."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came in a multipart body."""

    filename: str
    content: bytes
    media: str


@dataclass(frozen=True, slots=True)
class Form:
    """A body, read."""

    media: str = ""
    data: Any = None
    """The JSON value, or the fields of a form; None when there is no body."""
    files: Mapping[str, Upload] = field(default_factory=dict[str, Upload])

    @property
    def empty(self) -> bool:
        """Whether nothing was sent."""
        return self.data is None and not self.files


def media_type(request: Request) -> str:
    """The media type a request claims for its body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_form(request: Request) -> Form:
    """Read a request's body.

    Raises:
        Problem: It is too large (413), of another media type (415), or malformed (400).
    """
    if not request.content:
        return Form()
    if len(request.content) > MAX_BODY:
        raise ApiError(413)
    media = media_type(request)
    if media == "application/json":
        return Form(media, _json(request.content))
    if media == "application/x-www-form-urlencoded":
        pairs = parse_qsl(request.content.decode("utf-8", "replace"), keep_blank_values=True)
        return Form(media, dict(pairs))
    if media == "multipart/form-data":
        return _multipart(request)
    raise unsupported_media(request.headers.get("content-type", ""))


def _json(content: bytes) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"Out of range float values are not JSON compliant: {constant}")

    try:
        return json.loads(content.decode(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise parse_error(f"JSON parse error - {error}") from None


def _multipart(request: Request) -> Form:
    header = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode("latin-1")
    boundary = message_from_bytes(header, policy=HTTP).get_boundary()
    if not boundary:
        raise parse_error("Multipart form parse error - Invalid boundary in multipart: None")
    mark = b"--" + boundary.encode("latin-1")
    head, *parts = (b"\r\n" + request.content).split(b"\r\n" + mark)
    if head.strip() or not parts or not parts[-1].startswith(b"--"):
        raise parse_error("Multipart form parse error - the closing boundary is missing")
    data: dict[str, Any] = {}
    files: dict[str, Upload] = {}
    for part in parts[:-1]:
        _read_part(part, data, files)
    return Form("multipart/form-data", data, files)


def _read_part(part: bytes, data: dict[str, Any], files: dict[str, Upload]) -> None:
    head, blank, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    if not blank:
        raise parse_error("Multipart form parse error - a part has no headers")
    headers = message_from_bytes(head + b"\r\n\r\n", policy=HTTP)
    name = headers.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise parse_error("Multipart form parse error - a part has no name")
    filename = headers.get_filename()
    if filename is not None:
        files[name] = Upload(filename, content, headers.get_content_type())
        return
    text = content.decode("utf-8", "replace")
    if name in data:
        earlier = data[name]
        data[name] = [*cast("list[str]", earlier), text] if isinstance(earlier, list) else [
            earlier, text,
        ]  # fmt: skip
    else:
        data[name] = text


def typed_fields(form: Form, schema: Schema, catalogue: Catalogue) -> dict[str, Any]:
    """A form's fields with the types the schema gives them; forms carry only text.

    A file stands as its name, which is what the schema calls a string.
    """
    properties = catalogue.properties(schema)
    out: dict[str, Any] = {}
    for name, value in as_object(form.data).items():
        schema_of_value = properties.get(name, {})
        types = catalogue.types(schema_of_value)
        if "array" in types and not (isinstance(value, str) and value.startswith("[")):
            items = catalogue.types(catalogue.resolve(schema_of_value).get("items", {}))
            texts: list[str] = value if is_array(value) else [value]
            out[name] = [_typed(text, items) for text in texts]
        else:
            out[name] = _typed(value, types) if isinstance(value, str) else value
    return {**out, **{name: upload.filename for name, upload in form.files.items()}}


def _typed(text: str, types: set[str]) -> Any:
    if "string" in types or not types:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
