"""The tool `run_script`."""

from __future__ import annotations

from typing import Any

import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.sandbox import Completed, Job, SandboxExecutor
from asyncposthog.toolkit import Toolkit, WriteRequest, script_tool

pytestmark = pytest.mark.anyio


class Recorder:
    """A backend that runs nothing."""

    def __init__(self, completed: Completed) -> None:
        self.completed = completed
        self.jobs: list[Job] = []

    async def open(self) -> None: ...

    async def run(self, job: Job) -> Completed:
        self.jobs.append(job)
        return self.completed

    async def aclose(self) -> None: ...


ARGUMENTS = {"script": "print(6 * 7)", "description": "Multiply"}


async def test_a_script_is_run_after_approval() -> None:
    asked: list[WriteRequest] = []
    answers = [True, False]

    def approve(request: WriteRequest) -> bool:
        asked.append(request)
        return answers.pop(0)

    done = Completed(ending="finished", exit_code=0, stdout=b"42\n", stderr=b"")
    backend = Recorder(done)
    async with AsyncPostHog("phx_key", project_id=1) as ph:
        sandbox = SandboxExecutor(backend, client=ph)
        kit = Toolkit(ph, approve=approve)
        assert "run_script" not in kit
        kit.add(script_tool(sandbox))
        closed = await Toolkit(ph).add(script_tool(sandbox)).call("run_script", ARGUMENTS)
        assert not closed.successful
        assert "not open" in closed.text
        async with sandbox:
            result = await kit.call("run_script", ARGUMENTS)
            denied = await kit.call("run_script", ARGUMENTS)
            for script in ("", " ", "x" * 100_001):
                wrong = (
                    await Toolkit(ph)
                    .add(script_tool(sandbox))
                    .call("run_script", {**ARGUMENTS, "script": script})
                )
                assert not wrong.successful
                assert "script must have 1 to 100,000 characters" in wrong.text
    assert result.data == {"success": True, "output": "42\n"}
    assert denied.error is not None
    assert denied.error.code == "denied"
    assert [job.script for job in backend.jobs] == ["print(6 * 7)"]
    assert asked[0].destructive
    assert asked[0].arguments == ARGUMENTS


async def test_a_read_only_toolkit_has_no_scripts_and_a_dry_run_runs_none() -> None:
    done = Completed(ending="timeout", exit_code=None, stdout=b"on", stderr=b"")
    backend = Recorder(done)
    async with (
        AsyncPostHog("phx_key", project_id=1) as ph,
        SandboxExecutor(backend, client=ph) as sandbox,
    ):
        kit = Toolkit(ph, read_only=True).add(script_tool(sandbox))
        refused = await kit.call("run_script", ARGUMENTS)
        assert not refused.successful
        assert "run_script" not in kit
        dry = (
            await Toolkit(ph, dry_run=True).add(script_tool(sandbox)).call("run_script", ARGUMENTS)
        )
        assert dry.successful
        assert backend.jobs == []
        late: Any = (await Toolkit(ph).add(script_tool(sandbox)).call("run_script", ARGUMENTS)).data
    assert (late["success"], late["ending"], late["output"]) == (False, "timeout", "on")
    assert "60 s" in late["error"]
