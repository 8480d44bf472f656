"""Everything the emulator answers, as a validator that is not ours sees it."""

from __future__ import annotations

import pytest

from asyncposthog import registry

from .emulated import DEVIATIONS, UNLIKE_SCHEMA, judged

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here: what is answered does not depend on it."""
    return "asyncio"


async def test_every_operation_answers_what_the_pinned_schema_declares() -> None:
    wrong: list[str] = []
    refused: list[str] = []
    unlike: list[str] = []
    count = 0
    async for one in judged():
        count += 1
        assert one.status != 501
        if one.status != one.operation.result.status:
            refused.append(one.operation.id)
        elif one.found and one.operation.id in UNLIKE_SCHEMA:
            unlike.append(one.operation.id)
        elif one.found or not one.declared:
            wrong.append(f"{one.operation.id} {one.status}: {one.found[:3]}")
    assert wrong == []
    assert unlike == list(UNLIKE_SCHEMA)
    assert sorted(refused) == sorted(DEVIATIONS)
    assert count == len(list(registry.operations()))
