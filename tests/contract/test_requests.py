"""Every operation is called through its generated method; openapi-core judges what it sends."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import httpx
import pytest

from asyncposthog import OMIT, PostHogError
from asyncposthog.operation import Operation
from tests.helpers.operations import OPERATIONS, Operations, each_family
from tests.helpers.soft_assertions import SoftAssertions

from .calls import Call, body_schema, described, maximal, minimal, nulls
from .document import document
from .wire import HOST, KEY, ORGANIZATION, PROJECT, Sent, Wire, form_of, understood

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here: what is sent does not depend on it."""
    return "asyncio"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """One client for the operations of a family."""
    wire = Wire()
    async with wire.ph:
        yield wire


@each_family
def test_the_arguments_are_those_of_the_document(operations: Operations) -> None:
    with SoftAssertions() as soft:
        for operation in operations:
            with soft.case(operation.id):
                check_arguments(operation)


def check_arguments(operation: Operation) -> None:
    """Compare the parameters and fields of an operation with those of the document."""
    _, description = described(operation)
    declared = {(p["in"], p["name"]) for p in description.get("parameters", ())}
    if operation.fixed_body is not None:
        declared = {(location, name) for location, name in declared if location == "path"}
    known = {(p.location, p.name) for p in operation.parameters}
    roots = {("path", "project_id"), ("path", "organization_id")}
    assert known | roots == declared | roots
    fields = {wire for _, wire in operation.body.fields} if operation.body else set()
    if operation.body is not None and operation.body.flat and operation.fixed_body is None:
        schemas = body_schema(description).get("properties", {})
        assert fields == {wire for wire, schema in schemas.items() if schema != {"not": {}}}
    else:
        assert not fields
    assert ("requestBody" in description) == (operation.body is not None)


def test_partial_bodies_hide_what_is_read_only_in_the_whole() -> None:
    """Hold each `PatchedX` against `X`: drf-spectacular has lost the mark in some of them."""
    schemas = document()["components"]["schemas"]
    pairs = [(n, n.removeprefix("Patched")) for n in schemas if n.startswith("Patched")]
    open_ = [
        f"{patched}.{field}"
        for patched, whole in pairs
        for field, schema in schemas.get(whole, {}).get("properties", {}).items()
        if schema.get("readOnly")
        and not schemas[patched]["properties"].get(field, {"readOnly": True}).get("readOnly")
    ]
    assert len(pairs) > 100
    assert open_ == []


@each_family
def test_the_signature_requires_what_the_document_requires(operations: Operations) -> None:
    wire = Wire()
    with SoftAssertions() as soft:
        for operation in operations:
            with soft.case(operation.id):
                check_required(operation, wire.method(operation.id))


def check_required(operation: Operation, method: Any) -> None:
    """Compare the keywords that a method requires with those of the document."""
    parameters = inspect.signature(method).parameters.values()
    required = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    documented = set(minimal(operation).keywords)
    if operation.body is not None and not operation.body.required:
        # An optional body, or one the document only guesses at: its fields are not demanded.
        assert required <= documented
    else:
        assert required == documented


def test_bodies_the_document_requires_but_we_do_not_are_those_of_actions() -> None:
    relaxed = {
        operation.id
        for operation in OPERATIONS
        if operation.body is not None
        and operation.fixed_body is None
        and not operation.body.required
        and described(operation)[1]["requestBody"].get("required")
    }
    names = {name.rpartition(".")[2] for name in relaxed}
    assert not names & {"create", "update", "replace"}


def test_there_is_something_to_call() -> None:
    assert len(OPERATIONS) > 1000
    assert len({operation.id for operation in OPERATIONS}) == len(OPERATIONS)


@each_family
async def test_everything_that_is_declared_arrives(operations: Operations, wire: Wire) -> None:
    with SoftAssertions() as soft:
        for operation in operations:
            with soft.case(operation.id):
                call = maximal(operation)
                check(operation, call, await perform(wire, operation, call))


@each_family
async def test_what_is_required_is_enough(operations: Operations, wire: Wire) -> None:
    with SoftAssertions() as soft:
        for operation in operations:
            with soft.case(operation.id):
                call = minimal(operation)
                sent = await perform(wire, operation, call)
                check(operation, call, sent)
                left_out = dict.fromkeys(maximal(operation).keywords, OMIT) | dict(call.keywords)
                again = await perform(wire, operation, replace(call, keywords=left_out))
                check_same(sent, again)


def check_same(sent: Sent, again: Sent) -> None:
    """Compare two requests; the boundary of a form is another one each time."""
    assert again.url == sent.url
    if sent.content_type.startswith("multipart/"):
        assert form_of(again) == form_of(sent)
    else:
        assert again.content == sent.content


@each_family
async def test_none_is_sent_as_null(operations: Operations, wire: Wire) -> None:
    with SoftAssertions() as soft:
        for operation in operations:
            call = nulls(operation)
            if call is not None:
                with soft.case(operation.id):
                    check(operation, call, await perform(wire, operation, call))


def test_many_fields_may_be_null() -> None:
    assert sum(nulls(operation) is not None for operation in OPERATIONS) > 300


async def perform(wire: Wire, operation: Operation, call: Call) -> Sent:
    """Call the generated method; return the one request it makes."""
    with pytest.raises(PostHogError):
        await wire.method(operation.id)(*call.path, **call.keywords)
    return wire.last()


def check(operation: Operation, call: Call, sent: Sent) -> None:
    """Hold a request against the document."""
    path, _ = described(operation)
    assert sent.method == operation.method.lower()
    assert sent.host_url == HOST
    assert segments(sent.url) == expected_segments(path, call.path)
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sorted(set(sent.url.params)) == sorted(call.query)
    parameters = understood(sent, operation)
    for name, value in call.query.items():
        assert same(value, parameters.query[name]), name
    for name, value in call.headers.items():
        assert same(value, parameters.header[name]), name
    if operation.fixed_body is not None:
        assert json.loads(sent.content) == operation.fixed_body
    elif operation.body is not None and operation.body.media == "multipart":
        assert sent.content_type.startswith("multipart/form-data; boundary=")
        assert sorted(form_of(sent), key=str) == sorted(expected_form(call), key=str)
    elif call.body is not None:
        assert sent.content_type == "application/json"
        assert json.loads(sent.content) == call.body
    else:
        assert sent.content == b""


def segments(url: httpx.URL) -> list[str]:
    """Take the path on the wire apart, then decode: an encoded slash separates nothing."""
    raw = url.raw_path.decode("ascii").partition("?")[0]
    return [unquote(segment) for segment in raw.split("/")]


def expected_segments(template: str, values: tuple[Any, ...]) -> list[str]:
    """Fill a template; what is not given is the project or the organization."""
    rest = list(values)
    missing = template.count("{") - len(values)
    filled: list[str] = []
    for segment in template.split("/"):
        if not re.fullmatch(r"\{\w+\}", segment):
            filled.append(segment)
        elif missing:
            filled.append(str(PROJECT) if template.startswith("/api/projects/") else ORGANIZATION)
            missing -= 1
        else:
            filled.append(str(rest.pop(0)))
    return filled


def expected_form(call: Call) -> Iterator[tuple[str, str | None, bytes]]:
    """Yield the parts of a form: a list is a field that is repeated, an object is JSON."""
    for name, value in call.body.items():
        if name in call.files:
            yield from ((name, filename, content) for filename, content, _ in call.files[name])
            continue
        for one in value if isinstance(value, list) else [value]:
            yield name, None, (one if isinstance(one, str) else json.dumps(one)).encode()


def same(passed: Any, got: Any) -> bool:
    """Compare an argument with what openapi-core makes of it on the other side."""
    if isinstance(got, datetime):
        return datetime.fromisoformat(passed) == got
    if isinstance(got, date | UUID):
        return passed == str(got)
    if isinstance(got, list):
        return len(passed) == len(got) and all(map(same, passed, got))
    if isinstance(got, Mapping):
        return set(passed) == set(got) and all(same(passed[key], got[key]) for key in got)
    return type(passed) is type(got) and passed == got
