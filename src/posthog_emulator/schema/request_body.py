"""Parse request bodies: JSON, URL-encoded and multipart."""

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

__all__ = ["MAX_BODY", "RequestBody", "Upload", "media_type", "parse_body", "typed_fields"]

MAX_BODY = 20_971_520
"""The maximum size of a body that the server accepts, in bytes (20 MiB)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a multipart body."""

    filename: str
    content: bytes
    media: str


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A parsed request body."""

    media: str = ""
    """The media type; empty without a body."""
    data: Any = None
    """The JSON value, or the fields of a form; None without a body."""
    files: Mapping[str, list[Upload]] = field(default_factory=dict[str, list[Upload]])
    """The files of a multipart body, by field name: several if a field is repeated."""

    @property
    def empty(self) -> bool:
        """Whether there is neither data nor a file."""
        return self.data is None and not self.files


def media_type(request: Request) -> str:
    """Return the media type of the `Content-Type` header, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_body(request: Request) -> RequestBody:
    """Return the parsed body of a request.

    Raises:
        ApiError: The body is too large (413), of another media type (415), or malformed (400).
    """
    if not request.content:
        return RequestBody()
    if len(request.content) > MAX_BODY:
        raise ApiError(413)
    media = media_type(request)
    if media == "application/json":
        return RequestBody(media, _json(request.content))
    if media == "application/x-www-form-urlencoded":
        pairs = parse_qsl(request.content.decode("utf-8", "replace"), keep_blank_values=True)
        return RequestBody(media, dict(pairs))
    if media == "multipart/form-data":
        return _multipart(request)
    raise unsupported_media(request.headers.get("content-type", ""))


def _json(content: bytes) -> Any:
    # Python's parser accepts NaN and Infinity; the server's (Django REST framework) does not.
    def reject(constant: str) -> NoReturn:
        raise ValueError(f"Out of range float values are not JSON compliant: {constant}")

    try:
        return json.loads(content.decode(), parse_constant=reject)
    except (ValueError, RecursionError) as error:
        raise parse_error(f"JSON parse error - {error}") from None


def _multipart(request: Request) -> RequestBody:
    # Parsed by hand, and strictly, because lenient parsers hide mistakes of the client's encoder.
    header = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode("latin-1")
    boundary = message_from_bytes(header, policy=HTTP).get_boundary()
    if not boundary:
        raise parse_error("Multipart form parse error - Invalid boundary in multipart: None")
    delimiter = b"--" + boundary.encode("latin-1")
    preamble, *parts = (b"\r\n" + request.content).split(b"\r\n" + delimiter)
    if preamble.strip() or not parts or not parts[-1].startswith(b"--"):
        raise parse_error("Multipart form parse error - the closing boundary is missing")
    data: dict[str, Any] = {}
    files: dict[str, list[Upload]] = {}
    for part in parts[:-1]:
        _parse_part(part, data, files)
    return RequestBody("multipart/form-data", data, files)


def _parse_part(part: bytes, data: dict[str, Any], files: dict[str, list[Upload]]) -> None:
    head, blank, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    if not blank:
        raise parse_error("Multipart form parse error - a part has no headers")
    headers = message_from_bytes(head + b"\r\n\r\n", policy=HTTP)
    name = headers.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise parse_error("Multipart form parse error - a part has no name")
    filename = headers.get_filename()
    if filename is not None:
        upload = Upload(filename, content, headers.get_content_type())
        files.setdefault(name, []).append(upload)
        return
    text = content.decode("utf-8", "replace")
    if name in data:
        earlier = data[name]
        data[name] = [*cast("list[str]", earlier), text] if isinstance(earlier, list) else [
            earlier, text,
        ]  # fmt: skip
    else:
        data[name] = text


def typed_fields(body: RequestBody, schema: Schema, catalogue: Catalogue) -> dict[str, Any]:
    """Return the fields of a form with the types of the schema, as forms carry only text.

    A file is represented by its name, because the schema declares files as strings.
    """
    properties = catalogue.properties(schema)
    fields: dict[str, Any] = {}
    for name, value in as_object(body.data).items():
        field_schema = properties.get(name, {})
        types = catalogue.types(field_schema)
        if "array" in types and not (isinstance(value, str) and value.startswith("[")):
            items = catalogue.types(catalogue.resolve(field_schema).get("items", {}))
            texts: list[str] = value if is_array(value) else [value]
            fields[name] = [_typed(text, items) for text in texts]
        else:
            fields[name] = _typed(value, types) if isinstance(value, str) else value
    for name, uploads in body.files.items():
        names = [upload.filename for upload in uploads]
        many = "array" in catalogue.types(properties.get(name, {}))
        fields[name] = names if many else names[-1]
    return fields


def _typed(text: str, types: set[str]) -> Any:
    if "string" in types or not types:
        return text
    try:
        return json.loads(text)
    except ValueError:
        # Left as text: validation by the schema then reports it under the name of the field.
        return text
