"""The executor, its templates, and the backend that is no boundary."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncposthog import AsyncPostHog
from asyncposthog.errors import ConfigurationError
from asyncposthog.gateways import Maton
from asyncposthog.sandbox import (
    TEMPLATES,
    Completed,
    InsecureSandboxWarning,
    Job,
    SandboxError,
    SandboxExecutor,
    ScriptLimits,
    get_template,
)
from asyncposthog.sandbox.templates import SCRIPT

pytestmark = pytest.mark.anyio

KEY = "phx_a_secret_key"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Recorder:
    """A backend that runs nothing."""

    def __init__(self, **completed: Any) -> None:
        self.calls: list[str] = []
        self.jobs: list[Job] = []
        self.completed: dict[str, Any] = {
            "ending": "finished", "exit_code": 0, "stdout": b"{}", "stderr": b"", **completed
        }  # fmt: skip
        self.fails_to_open = False

    async def open(self) -> None:
        self.calls.append("open")
        if self.fails_to_open:
            raise SandboxError("no")

    async def run(self, job: Job) -> Completed:
        self.calls.append("run")
        self.jobs.append(job)
        return Completed(**self.completed)

    async def aclose(self) -> None:
        self.calls.append("aclose")


VALID: Mapping[str, dict[str, object]] = {
    "capture_event": {"event": "paid", "distinct_id": "ada"},
    "capture_batch": {"events": [{"event": "paid", "distinct_id": "ada"}]},
    "get_recent_events": {},
    "hogql_query": {"query": "SELECT 1"},
    "get_insights": {"insight_type": "FUNNELS"},
    "export_events": {"start_date": "2026-01-01", "end_date": "2026-02-01"},
    "export_cohort": {"cohort_id": 1},
    "identify_power_users": {"key_event": "Feature Used", "min_occurrences": "10", "days": "7"},
    "identify_churn_risk": {},
    "analyze_funnel": {"steps": ["a", "b"]},
    "get_experiments": {},
    "evaluate_flags": {"distinct_id": "ada"},
    "track_errors": {},
}


async def test_there_are_these_templates_and_their_script_is_always_the_same() -> None:
    assert list(TEMPLATES) == list(VALID)
    backend = Recorder()
    async with SandboxExecutor(backend, api_key=KEY, project_api_key="phc_token") as sandbox:
        for name, variables in VALID.items():
            assert (await sandbox.execute_template(name, variables)).success
    assert {job.script for job in backend.jobs} == {SCRIPT}
    sent = [json.loads(job.parameters) for job in backend.jobs]
    assert [parameters["template"] for parameters in sent] == list(TEMPLATES)
    power_users = sent[list(VALID).index("identify_power_users")]["variables"]
    assert power_users == {
        "key_event": "Feature Used", "min_occurrences": 10, "days": 7, "limit": 50
    }  # fmt: skip
    assert backend.calls == ["open", *["run"] * 13, "aclose"]
    schema = get_template("analyze_funnel").schema
    assert schema["required"] == ["steps"]
    assert schema["properties"]["steps"]["minItems"] == 2


@settings(max_examples=10)
@given(st.text(min_size=1, max_size=40))
def test_no_value_of_a_variable_becomes_code(value: str) -> None:
    template = get_template("capture_event")
    parameters = template.prepare(
        {"event": value, "distinct_id": value, "properties": {value: [value]}}
    )
    assert json.loads(parameters)["variables"] == {
        "event": value, "distinct_id": value, "properties": {value: [value]}, "timestamp": None
    }  # fmt: skip


async def test_wrong_variables_are_refused_before_anything_starts() -> None:
    backend = Recorder()
    cases: list[tuple[str, dict[str, object], str]] = [
        ("capture_event", {"event": "paid"}, "distinct_id is missing"),
        (
            "capture_event",
            {"event": 5, "distinct_id": "a"},
            "event: Input should be a valid str",
        ),
        ("capture_event", {"event": "", "distinct_id": "a"}, "event: String should have at least"),
        ("identify_power_users", {"days": "many"}, "days: Input should be a valid integer"),
        ("identify_power_users", {"days": 0}, "days: Input should be greater"),
        ("identify_power_users", {"dayz": 7}, "there is no variable 'dayz'"),
        ("analyze_funnel", {"steps": ["one"]}, "steps: List should have at least 2 items"),
        ("analyze_funnel", {"steps": "a,b"}, "steps: Input should be a valid list"),
        ("export_events", {"start_date": "soon", "end_date": "2026-01-01"}, "start_date: "),
        ("get_insights", {"insight_type": "PIE"}, "insight_type: Input should be 'TRENDS'"),
        ("hogql_query", {}, "query is missing"),
        ("drop_everything", {}, "no template 'drop_everything'"),
    ]
    async with SandboxExecutor(backend, api_key=KEY) as sandbox:
        for name, variables, message in cases:
            with pytest.raises(ConfigurationError, match=message) as error:
                await sandbox.execute_template(name, variables)
            assert error.value.suggestion
        with pytest.raises(ConfigurationError, match="needs the project token"):
            await sandbox.execute_template("capture_event", VALID["capture_event"])
    assert backend.jobs == []


async def test_keys_are_in_the_environment_and_masked_in_what_comes_back() -> None:
    output = f"key {KEY} and {KEY.upper()}".encode()
    backend = Recorder(stdout=output, stderr=b"phc_token", exit_code=1)
    settings: dict[str, Any] = {
        "api_key": KEY, "project_api_key": "phc_token", "project_id": 7, "region": "eu"
    }  # fmt: skip
    async with AsyncPostHog(**settings) as ph:
        sandbox = SandboxExecutor(backend, client=ph)
    async with sandbox:
        result = await sandbox.execute_script("print()", "Say it", parameters={"a": 1})
    job = backend.jobs[0]
    assert job.secrets == {
        "POSTHOG_HOST": "https://eu.posthog.com",
        "POSTHOG_PERSONAL_API_KEY": KEY,
        "POSTHOG_PROJECT_API_KEY": "phc_token",
        "POSTHOG_PROJECT_ID": "7",
    }
    assert [origin.host for origin in job.origins] == ["eu.posthog.com", "eu.i.posthog.com"]
    assert job.parameters == b'{"a":1}'
    assert "secret" not in repr(job)
    assert "secret" not in repr(sandbox)
    assert (result.output, result.error) == ("key phx_*** and PHX_***", "phc_***")
    with pytest.raises(SandboxError, match=r"\(Say it\) failed: phc_\*\*\*"):
        result.json()


async def test_output_that_was_cut_shows_no_part_of_a_key() -> None:
    backend = Recorder(ending="output", exit_code=None, stdout=b"x" * 5000 + KEY[:12].encode())
    async with SandboxExecutor(backend, api_key=KEY) as sandbox:
        result = await sandbox.execute_script("flood")
    assert set(result.output) == {"x"}
    assert result.error == "The script wrote more than 1,048,576 bytes, and was killed."


async def test_a_sandbox_is_closed_whatever_happens() -> None:
    backend = Recorder()
    backend.fails_to_open = True
    with pytest.raises(SandboxError, match="no"):
        await SandboxExecutor(backend, api_key=KEY).__aenter__()
    assert backend.calls == ["open", "aclose"]
    backend = Recorder()
    sandbox = SandboxExecutor(backend, api_key=KEY)
    with pytest.raises(SandboxError, match="not open"):
        await sandbox.execute_script("print()")
    with pytest.raises(KeyError):
        async with sandbox:
            raise KeyError
    with pytest.raises(SandboxError, match="not open"):
        await sandbox.execute_script("print()")
    assert backend.calls == ["open", "aclose"]
    not_json = Recorder(stdout=b"hello")
    async with SandboxExecutor(not_json, api_key=KEY) as sandbox:
        with pytest.raises(SandboxError, match="not JSON: 'hello'"):
            (await sandbox.execute_script("print()")).json()


async def test_a_backend_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="backend"):
        SandboxExecutor()  # pyright: ignore[reportCallIssue]
    with pytest.raises(ConfigurationError, match="no sandbox backend 'docker'"):
        SandboxExecutor("docker", api_key=KEY)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="open, run and aclose"):
        SandboxExecutor(object(), api_key=KEY)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="cannot use a gateway"):
        SandboxExecutor(Recorder(), client=AsyncPostHog(gateway=Maton("a-maton-key")))
    for name in ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY", "POSTHOG_PROJECT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="No API key"):
        SandboxExecutor(Recorder())
    for limits in ({"seconds": 0}, {"memory": -1}, {"output": 0}):
        with pytest.raises(ConfigurationError, match="must be more than 0"):
            ScriptLimits(**limits)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_plain_subprocess_says_that_it_is_no_boundary() -> None:
    script = """
import json, os, sys
print(json.dumps([json.load(open(os.environ["ASYNCPOSTHOG_PARAMETERS"])), sorted(os.environ)]))
try:
    bytearray(4 << 30)
except MemoryError:
    print("no memory", file=sys.stderr)
raise SystemExit(3)
"""
    sandbox = SandboxExecutor("subprocess", api_key=KEY)
    with pytest.warns(InsecureSandboxWarning, match="without a boundary"):
        await sandbox.__aenter__()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = await sandbox.execute_script(script, parameters={"a": [1]})
        hang = await sandbox.execute_script(
            "import time; print('on'); time.sleep(600)", limits=ScriptLimits(seconds=1)
        )
        await sandbox.__aexit__(None, None, None)
    assert (result.success, result.exit_code, result.error) == (False, 3, "no memory\n")
    parameters, variables = json.loads(result.output)
    assert parameters == {"a": [1]}
    assert "POSTHOG_PERSONAL_API_KEY" in variables
    assert not {"HOSTNAME", "SSH_AUTH_SOCK", "VIRTUAL_ENV"} & set(variables)
    assert (hang.ending, hang.output) == ("timeout", "on\n")
