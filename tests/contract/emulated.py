"""The emulator's answers, judged by the pinned schema and a validator that is not ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from asyncposthog import registry
from asyncposthog.operation import Operation
from posthog_emulator import Emulator
from tests.emulator.request_builder import Caller

from .document import operation_of, projected
from .samples import problems

__all__ = ["DEVIATIONS", "UNLIKE_SCHEMA", "Judged", "judged"]

DEVIATIONS: Mapping[str, str] = {
    "error_tracking.external_references.delete": "refused with 405 and no body, as by the server",
    "error_tracking.fingerprints.delete": "likewise",
    "error_tracking.issues.delete": "likewise",
    "error_tracking.stack_frames.delete": "likewise",
    "llm_analytics.evaluation_reports.delete": "likewise",
    "file_download_batch_exports.count_rows": "403: a closed beta",
    "file_download_batch_exports.download": "404: nothing has been exported",
    "file_download_batch_exports.download_part": "404: nothing has been exported",
    "query.get": "404: no query has been started",
    **{
        operation.id: "403: not for API keys"
        for operation in registry.operations()
        if not operation.api_key_allowed
    },
}
"""Operations that are answered otherwise than by their success, as the server would answer."""

UNLIKE_SCHEMA: Mapping[str, str] = {
    "max_tools.create_and_query_insight": "a list, which PostHog's own agent toolkit requires",
}
"""Operations whose bodies are not what the schema says."""


@dataclass(frozen=True)
class Judged:
    """One operation, called once as its own description has it."""

    operation: Operation
    status: int
    found: list[str] = field(default_factory=list[str])
    """What the validator finds wrong."""
    declared: bool = True
    """Whether the schema declares the status."""


async def judged(operations: list[Operation] | None = None) -> AsyncIterator[Judged]:
    """Call every operation of an emulator, and judge each answer."""
    emulator = Emulator()
    caller = Caller(emulator)
    async with httpx.AsyncClient(transport=emulator.transport()) as http:
        for operation in registry.operations() if operations is None else operations:
            emulator.reset()
            answer = await http.send(caller.request(operation, "rich"))
            yield _judge(operation, answer)


def _judge(operation: Operation, answer: httpx.Response) -> Judged:
    responses = operation_of(operation)[1]["responses"]
    status = answer.status_code
    description = responses.get(str(status))
    if description is None:
        return Judged(operation, status, declared=False)
    media = description.get("content", {}).get("application/json")
    if media is None or not answer.content:
        return Judged(operation, status)
    try:
        body: Any = json.loads(answer.content)
    except ValueError as error:
        kind = answer.headers.get("content-type", "")
        wrong = [] if not kind.startswith("application/json") else [f"no JSON: {error}"]
        return Judged(operation, status, wrong)
    schema = projected(media["schema"], "response")
    return Judged(operation, status, problems(body, schema, "response"))
