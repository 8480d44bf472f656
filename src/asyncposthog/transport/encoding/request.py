"""Encode a call as a request. Uploads are read later, when the request is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote_plus

from asyncposthog.call import Call
from asyncposthog.errors import RequestInfo
from asyncposthog.operation import Operation
from asyncposthog.redact import mask
from asyncposthog.types import OMIT

from .json_body import encode_json, is_model, jsonable
from .multipart import FilePart, Multipart, check_file
from .path import build_path
from .query_params import encode_headers, encode_query

__all__ = ["PreparedRequest", "prepare_request", "request_info"]

_JSON_CONTENT_TYPE = ("Content-Type", "application/json")
_MAX_TARGET_CHARS: Final = 64_000
"""Characters of path and query that can be sent: httpx accepts 65,536 for a whole URL."""
_NO_HEADERS: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """An encoded request, which can be sent several times. It has no credentials."""

    method: str
    target: str
    """Path and query, encoded, below the host."""
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None
    multipart: Multipart | None = None


def request_info(request: PreparedRequest) -> RequestInfo:
    """Return method and path of a request, for errors and hooks."""
    return RequestInfo(request.method, mask(request.target.partition("?")[0]))


def prepare_request(call: Call, owner_id: str | int | None) -> PreparedRequest:
    """Validate and encode the arguments of a call.

    Args:
        call: The operation and its arguments.
        owner_id: The id of the project or organization, if the path has a place for it.

    Raises:
        TypeError: An argument has a type that cannot be sent.
        ValueError: An argument is out of range, or would address something else.
    """
    operation, options = call.operation, call.options
    target = build_path(operation, owner_id, call.path)
    if call.query or options.query:
        text = encode_query(operation, call.merged_query() if options.query else call.query or {})
        if text:
            target = f"{target}?{text}"
    if len(target) > _MAX_TARGET_CHARS:
        raise _too_long(operation, target)
    headers = call.headers
    if operation.result.media != "application/json":
        # JSON stays acceptable: a PostHog view may offer nothing else, and answers 406 to an
        # `Accept` that does not include it.
        headers = {"Accept": f"{operation.result.media}, */*;q=0.5", **(headers or {})}
    if options.headers:
        headers = {**(headers or {}), **dict(options.headers)}
    encoded_headers = tuple(encode_headers(operation, headers)) if headers else _NO_HEADERS
    body, extra_body = call.body, options.body
    if body is OMIT and operation.fixed_body is None and not extra_body:
        return PreparedRequest(operation.method, target, encoded_headers)
    if operation.body is not None and operation.body.media == "multipart":
        form = _multipart_form(operation, body, extra_body)
        return PreparedRequest(operation.method, target, encoded_headers, multipart=form)
    content = _json_content(operation, body, extra_body)
    return PreparedRequest(
        operation.method, target, (*encoded_headers, _JSON_CONTENT_TYPE), content
    )


def _too_long(operation: Operation, target: str) -> ValueError:
    """Return the error for a path and query that are too long for a URL."""
    parts = target.partition("?")
    sizes: dict[str, int] = {}
    for pair in parts[2].split("&"):
        name = unquote_plus(pair.partition("=")[0])
        sizes[name] = sizes.get(name, 0) + len(pair)
    longest = max(sizes, key=lambda name: sizes[name])
    where = f"its query, {longest[:80]!r} above all" if parts[2] else "its path"
    return ValueError(
        f"{operation.id}: path and query are {len(target):,} bytes long, and the limit is "
        f"{_MAX_TARGET_CHARS:,}: shorten {where}"
    )


def _json_content(operation: Operation, body: object, extra: Mapping[str, object] | None) -> bytes:
    if operation.method in {"GET", "HEAD"}:
        raise TypeError(f"{operation.id}: a {operation.method} request has no body")
    if operation.fixed_body is not None:
        body = {**operation.fixed_body, **_as_object(operation, body)}
    if extra:
        body = {**_as_object(operation, body), **extra}
    if operation.body is not None and operation.body.booleans:
        _check_booleans(operation, operation.body.booleans, _as_object(operation, body))
    return encode_json(body, f"{operation.id}: body")


def _check_booleans(
    operation: Operation, names: tuple[str, ...], body: Mapping[str, object]
) -> None:
    """Raise an error for booleans of another type: the server takes the text "false" for true."""
    for name in names:
        value = body.get(name, OMIT)
        if value is not OMIT and not isinstance(value, bool):
            type_name = type(value).__name__
            raise TypeError(f"{operation.id}: {name} must be True or False, not {type_name}")


def _as_object(operation: Operation, body: object) -> Mapping[str, object]:
    """Return the body as a mapping."""
    if body is OMIT:
        return {}
    if is_model(body):
        body = jsonable(body, f"{operation.id}: body")
    if isinstance(body, Mapping):
        return cast("Mapping[str, object]", body)
    raise TypeError(
        f"{operation.id}: options['body'] needs a JSON object to be merged into, "
        f"and the body is a {type(body).__name__}"
    )


def _multipart_form(
    operation: Operation, body: object, extra: Mapping[str, object] | None
) -> Multipart:
    assert operation.body is not None
    values = {**_as_object(operation, body), **(extra or {})}
    fields: list[tuple[str, str]] = []
    files: list[FilePart] = []
    for name, value in values.items():
        if value is OMIT:
            continue
        label = f"{operation.id}: {name}"
        many = cast("list[object]", value) if isinstance(value, list) else [value]
        if name in operation.body.files:
            files += [check_file(name, item, label) for item in many if item is not None]
        else:
            fields += [(name, _form_value(item, label)) for item in many]
    return Multipart(tuple(fields), tuple(files))


def _form_value(value: object, label: str) -> str:
    """Return a form field as Django parses it: null is empty, objects are JSON."""
    plain = jsonable(value, label)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else encode_json(plain, label).decode()
