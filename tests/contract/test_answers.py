"""Every operation reads an answer that was made from the document."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from asyncposthog import Page, models
from asyncposthog.model import Model
from asyncposthog.operation import Operation
from asyncposthog.persons.service import PendingUpdate
from tests.helpers.operations import OPERATIONS, Operations, each_family
from tests.helpers.soft_assertions import SoftAssertions

from .calls import described, minimal
from .document import projected, resolve
from .samples import sample
from .wire import Wire

pytestmark = pytest.mark.anyio


def declared(operation: Operation) -> dict[int, Mapping[str, Any]]:
    """Return the schema of each successful JSON answer by its status."""
    _, description = described(operation)
    return {
        int(status): projected(response["content"]["application/json"]["schema"], "response")
        for status, response in description["responses"].items()
        if status.startswith("2") and "application/json" in response.get("content", {})
    }


_ANYTHING = {"QueryResponseAlternative"}
"""Components that say nothing, and so are no class. A query's answer depends on the query."""


def group_of(operation: Operation) -> str:
    """Return how the response of an operation is declared."""
    kind = operation.result.kind
    if kind == "model":
        return "model"
    if kind in {"text", "bytes"}:
        return "content"
    return "plain" if kind == "json" and declared(operation) else "undeclared"


def of_group(group: str, operations: Operations) -> Iterator[Operation]:
    return (operation for operation in operations if group_of(operation) == group)


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here: what is read does not depend on it."""
    return "asyncio"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """One client for the operations of a family."""
    wire = Wire()
    async with wire.ph:
        yield wire


def test_every_group_has_operations() -> None:
    counts = Counter(map(group_of, OPERATIONS))
    assert counts.keys() == {"model", "plain", "undeclared", "content"}
    assert counts["model"] > 700
    assert all(not declared(operation) for operation in of_group("undeclared", OPERATIONS))


REFUSED = {
    "error_tracking.external_references.delete": "a reference stays as long as its issue",
    "error_tracking.fingerprints.delete": "PATCH takes no `deleted`, so there is no other way",
    "error_tracking.issues.delete": "likewise; `update(status=...)` is how an issue is put away",
    "error_tracking.stack_frames.delete": "likewise",
    "llm_analytics.evaluation_reports.delete": "a report goes with its evaluation",
}
"""Methods for operations the schema has and the server always refuses; their docstrings say so."""


def test_no_other_method_is_one_that_the_server_refuses() -> None:
    refused = [o.id for o in OPERATIONS if set(described(o)[1]["responses"]) == {"405"}]
    assert sorted(refused) == sorted(REFUSED)


@each_family
async def test_models_are_read_strictly_and_given_back(operations: Operations, wire: Wire) -> None:
    with SoftAssertions() as soft:
        for operation in of_group("model", operations):
            with soft.case(operation.id):
                answers = declared(operation)
                assert operation.result.status in answers
                for status, schema in answers.items():
                    body = sample(schema, "response", _seed(schema))
                    await check(wire, operation, status, body)


@each_family
async def test_what_is_required_makes_an_answer(operations: Operations, wire: Wire) -> None:
    with SoftAssertions() as soft:
        for operation in of_group("model", operations):
            with soft.case(operation.id):
                for status, declared_schema in declared(operation).items():
                    schema = with_items(operation, declared_schema)
                    body = sample(schema, "response", _seed(schema), optional=False)
                    await check(wire, operation, status, body)


def _seed(schema: Mapping[str, Any]) -> str:
    """Operations with one schema read one sample: making it takes longer than reading it."""
    return json.dumps(schema)


def with_items(operation: Operation, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Require the items of a page: an answer without them is none, whatever the schema says."""
    if operation.pagination is None or operation.pagination.items is None:
        return schema
    schema = projected(resolve(schema), "response")
    return {**schema, "required": [*schema.get("required", ()), operation.pagination.items]}


async def check(wire: Wire, operation: Operation, status: int, body: Any) -> None:
    """Answer with a body: it has to be of the declared model, and nothing may get lost."""
    value = await ask(wire, operation, json_answer(status, body), strict=True)
    whole = value.raw if isinstance(value, Page) else value
    check_type(operation, whole)
    assert differs(body, plain(whole), "$") is None
    if operation.pagination is not None:
        assert isinstance(value, Page)
        items = body if operation.pagination.items is None else body[operation.pagination.items]
        assert len(value) == len(items)
        assert differs(items, plain(list(value)), "$") is None


async def test_free_json_is_handed_over(wire: Wire) -> None:
    with SoftAssertions() as soft:
        for operation in of_group("plain", OPERATIONS):
            with soft.case(operation.id):
                for status, schema in declared(operation).items():
                    body = sample(schema, "response", f"{operation.id} {status}")
                    value = await ask(wire, operation, json_answer(status, body), strict=True)
                    assert (value.raw if isinstance(value, Page) else value) == body


async def test_undeclared_answers_are_what_came(wire: Wire) -> None:
    with SoftAssertions() as soft:
        for operation in of_group("undeclared", OPERATIONS):
            with soft.case(operation.id):
                assert operation.pagination is None
                empty = httpx.Response(operation.result.status)
                assert await ask(wire, operation, empty) is None
                body = {"anything": [1, 2.5, None, "é"]}
                expected = body if operation.result.kind == "json" else None
                value = await ask(wire, operation, json_answer(200, body), strict=True)
                assert value == expected


async def test_content_is_handed_over_whole(wire: Wire) -> None:
    content = "a,b\r\n1,é\r\n".encode()
    with SoftAssertions() as soft:
        for operation in of_group("content", OPERATIONS):
            with soft.case(operation.id):
                headers = {"Content-Type": operation.result.media}
                response = httpx.Response(200, content=content, headers=headers)
                value = await ask(wire, operation, response)
                assert value == (content if operation.result.kind == "bytes" else content.decode())


def test_the_model_is_that_of_the_schema() -> None:
    wrong = [
        operation.id
        for operation in of_group("model", OPERATIONS)
        for schema in declared(operation).values()
        if not _is_named(operation, schema)
    ]
    assert wrong == []


def _is_named(operation: Operation, schema: Mapping[str, Any]) -> bool:
    """Whether the registry names the component that the document refers to."""
    if operation.result.array:
        schema = resolve(schema)["items"]
    if "$ref" not in schema or len(declared(operation)) > 1:
        return True
    return operation.result.schema == schema["$ref"].rpartition("/")[2]


def json_answer(status: int, body: Any) -> httpx.Response:
    """Answer with JSON; httpx's own `json=None` would be an empty body."""
    headers = {"Content-Type": "application/json"}
    return httpx.Response(status, content=json.dumps(body), headers=headers)


async def ask(
    wire: Wire, operation: Operation, answer: httpx.Response, *, strict: bool = False
) -> Any:
    """Call the generated method and answer it; of a cursor, take the first page."""
    wire.response = answer
    call = minimal(operation)
    value = await wire.method(operation.id)(*call.path, **call.keywords, options={"strict": strict})
    wire.last()
    # Updates of persons return what can wait for them; the answer itself has no content.
    return None if isinstance(value, PendingUpdate) else value


def check_type(operation: Operation, value: Any) -> None:
    """Hold a decoded answer against the model the operation declares."""
    declared_type = getattr(models, operation.result.model or "")
    if declared_type is Any:
        assert operation.result.schema in _ANYTHING
        return
    values = value if operation.result.array else [value]
    assert isinstance(values, list)
    if isinstance(declared_type, type):
        assert issubclass(declared_type, Model)
        assert all(type(item) is declared_type for item in values)


def plain(value: Any) -> Any:
    """Give decoded models back as JSON."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value.raw() if isinstance(value, Model) else value


def differs(sent: Any, given: Any, path: str) -> str | None:
    """Compare two JSON values; return where they differ.

    A moment may be written with another offset, and a UUID in lower case, as long as they are the
    same. 1 and 1.0 are one number, but true is none.
    """
    if isinstance(sent, Mapping) and isinstance(given, Mapping):
        if set(sent) != set(given):
            return f"{path}: {sorted(set(sent) ^ set(given))} on one side alone"
        found = (differs(sent[key], given[key], f"{path}.{key}") for key in sent)
        return next(filter(None, found), None)
    if isinstance(sent, list) and isinstance(given, list) and len(sent) == len(given):
        found = (
            differs(*pair, f"{path}[{i}]") for i, pair in enumerate(zip(sent, given, strict=True))
        )
        return next(filter(None, found), None)
    if isinstance(sent, bool) == isinstance(given, bool) and sent == given:
        return None
    if isinstance(sent, str) and isinstance(given, str) and _normal(sent) == _normal(given):
        return None
    return f"{path}: sent {json.dumps(sent)[:80]}, given {json.dumps(given, default=repr)[:80]}"


def _normal(text: str) -> object:
    for kind in (datetime.fromisoformat, UUID):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
