"""Every operation of the registry returns what it declares."""

from __future__ import annotations

import httpx
import pytest

from asyncposthog import registry
from asyncposthog.operation import Operation
from posthog_emulator import FIDELITY_HEADER, Emulator
from posthog_emulator.handler_table import METHOD_NOT_ALLOWED_DETAILS, OPERATION_HANDLERS
from posthog_emulator.schema.sampling import Style
from posthog_emulator.state import ORGANIZATIONS, PROJECTS, USERS

from .request_builder import Caller

OPERATIONS = {operation.id: operation for operation in registry.operations()}
FAMILIES = sorted({operation.id.partition(".")[0] for operation in OPERATIONS.values()})

REFUSED = {
    "error_tracking.external_references.delete",
    "error_tracking.fingerprints.delete",
    "error_tracking.issues.delete",
    "error_tracking.stack_frames.delete",
    "llm_analytics.evaluation_reports.delete",
}
"""Operations for which the server returns 405, although the schema declares another status."""

NEEDS_STATE = {
    "file_download_batch_exports.count_rows": 403,
    "file_download_batch_exports.download": 404,
    "file_download_batch_exports.download_part": 404,
}
"""Statuses of operations that need more than the objects in their path, such as exported files or
access to a closed beta. Their successful responses have tests of their own."""

ALIASES = {
    "projects.create": "organizations.projects.create",
    "projects.delete": "organizations.projects.delete",
}
"""Second methods of an operation. The emulator records the first one."""


@pytest.fixture(scope="module")
def whole() -> Emulator:
    return Emulator()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("style", ["rich", "bare"])
@pytest.mark.parametrize("family", FAMILIES)
async def test_each_operation_returns_its_status_and_a_valid_body(
    whole: Emulator, family: str, style: Style
) -> None:
    caller = Caller(whole)
    async with httpx.AsyncClient(transport=whole.transport()) as http:
        for operation in OPERATIONS.values():
            if operation.id.partition(".")[0] != family:
                continue
            whole.reset()
            for before in caller.before(operation):
                await http.send(before)
            answer = await http.send(caller.request(operation, style))
            if not operation.api_key_allowed:
                assert answer.status_code == 403, operation.id
                continue
            if operation.id in REFUSED:
                assert (answer.status_code, answer.content) == (405, b"")
                continue
            if operation.id in NEEDS_STATE:
                assert answer.status_code == NEEDS_STATE[operation.id], operation.id
                continue
            message = f"{operation.id}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code == operation.result.status, message
            assert answer.headers[FIDELITY_HEADER] in {"stateful", "schema"}
            assert whole.requests[-1].operation == ALIASES.get(operation.id, operation.id)
            assert whole.warnings == []
            check_body(whole, operation, answer)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_each_list_returns_valid_items(whole: Emulator) -> None:
    caller = Caller(whole)
    async with httpx.AsyncClient(transport=whole.transport()) as http:
        shown = 0
        for operation in OPERATIONS.values():
            plan = whole.state.plans.get(operation)
            if plan.kind != "list" or plan.collection is None or not operation.api_key_allowed:
                continue
            whole.reset()
            request = caller.request(operation, "bare")
            # Collections are stored with the slash that some paths of the API lack.
            address = request.url.path.rstrip("/") + "/"
            if plan.collection.template not in {PROJECTS, ORGANIZATIONS, USERS}:
                known = whole.state.object_schemas.get(plan.collection).properties
                given = {
                    p.name: 1 if p.type == "integer" else request.url.params[p.name]
                    for p in operation.query_parameters
                    # A parameter may have the name of an object: it is no filter by that.
                    if p.required
                    and p.name in known
                    and not whole.state.catalogue.object_branch(known[p.name])
                    and p.name != "id"
                }
                whole.state.insert(plan.collection, address, given, 1)
            answer = await http.send(request)
            assert answer.status_code == operation.result.status, operation.id
            check_body(whole, operation, answer)
            page = answer.json()
            field = operation.pagination.items if operation.pagination else None
            items = page if field is None else page[field]
            shown += len(items)
            assert len(items) == (operation.id not in COMPUTED), operation.id
    assert shown > 100


COMPUTED = {
    "error_tracking.query.list_issue_events",
    "error_tracking.query.list_issues",
    "surveys.responses.list",
}
"""Lists that the emulator computes from events, of which there are none."""


def check_body(emulator: Emulator, operation: Operation, answer: httpx.Response) -> None:
    """Check that a body is valid by the operation's schema."""
    result = operation.result
    if result.kind == "none":
        assert answer.content == b"", operation.id
    if result.kind != "model" or result.schema is None:
        return
    body = answer.json()
    for one in body if result.array else [body]:
        problem = emulator.state.validators.first_error(result.schema, one, "response")
        assert problem is None, f"{operation.id}: {problem.attr}: {problem}"


def test_handlers_belong_to_existing_operations() -> None:
    assert OPERATION_HANDLERS.keys() <= OPERATIONS.keys()
    plans = Emulator().state.plans
    templates = {plans.get(operation).template for operation in OPERATIONS.values()}
    assert {template for _, template in METHOD_NOT_ALLOWED_DETAILS} <= templates


def test_soft_deletion_agrees_with_the_registry() -> None:
    emulator = Emulator()
    for operation in OPERATIONS.values():
        plan = emulator.state.plans.get(operation)
        if plan.kind in {"soft_delete", "restore"}:
            assert plan.collection is not None
            assert plan.collection.soft_delete, operation.id
