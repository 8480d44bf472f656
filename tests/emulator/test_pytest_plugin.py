"""The pytest plugin in projects that use it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

USES = """
import pytest
from asyncposthog import AsyncPostHog, ClosedError, NotFoundError

kept = []

async def use(posthog, posthog_emulator):
    flag = await posthog.feature_flags.create(key="beta", active=True)
    assert (await posthog.feature_flags.get(flag.id)).key == "beta"
    with pytest.raises(NotFoundError):
        await posthog.cohorts.get(404)
    assert [r.status for r in posthog_emulator.requests.matching(path="*/cohorts/*")] == [404]
    kept.append(posthog)
"""
ANYIO = """
@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.mark.anyio
@pytest.mark.parametrize("again", range(2))
async def test_anyio(posthog, posthog_emulator, again):
    await use(posthog, posthog_emulator)
"""
STRICT = """
@pytest.mark.asyncio
@pytest.mark.parametrize("again", range(2))
async def test_strict(posthog, posthog_emulator, again):
    await use(posthog, posthog_emulator)
"""
AUTO = """
@pytest.mark.parametrize("again", range(2))
async def test_auto(posthog, posthog_emulator, again):
    await use(posthog, posthog_emulator)
"""
NEITHER = """
import asyncio

@pytest.mark.parametrize("again", range(2))
def test_neither(posthog, posthog_emulator, again):
    asyncio.run(use(posthog, posthog_emulator))
"""
CLOSED = """
def test_clients_are_closed():
    assert len(kept) == {count}
    for client in kept:
        with pytest.raises(ClosedError):
            client.feature_flags.get(1).send(None)
"""
MORE = """
import json, threading, urllib.request

seen = []

@pytest.mark.parametrize("number", range(3))
def test_each_test_has_its_own_emulator(posthog_emulator, number):
    assert posthog_emulator.items("cohorts") == []
    posthog_emulator.seed("cohorts", 1 + number)
    seen.append(posthog_emulator)
    assert len(set(map(id, seen))) == number + 1

class TestOptions:
    @pytest.fixture
    def posthog_emulator_options(self, tmp_path):
        return {"project_id": 7, "path": tmp_path / "box"}

    def test_are_those_of_the_emulator(self, posthog, posthog_emulator):
        assert posthog_emulator.project_id == posthog.settings.project_id == 7
        posthog_emulator.save()

def test_url(posthog_url, posthog_emulator):
    request = urllib.request.Request(
        posthog_url + "/api/projects/1/cohorts/",
        headers={"Authorization": "Bearer " + posthog_emulator.key},
    )
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["count"] == 0

def test_no_threads_or_sockets_are_left():
    assert not [t for t in threading.enumerate() if "asyncposthog" in t.name]
"""


@pytest.mark.parametrize(
    ("source", "options", "count"),
    [
        (ANYIO + STRICT + CLOSED.format(count=6) + MORE, ["-o", "asyncio_mode=strict"], 13),
        (AUTO + CLOSED.format(count=2), ["-o", "asyncio_mode=auto"], 3),
        (NEITHER + CLOSED.format(count=2), ["-p", "no:asyncio", "-p", "no:anyio"], 3),
    ],
    ids=["strict and anyio", "auto", "neither"],
)
def test_all_async_plugins(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    options: list[str],
    count: int,
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(USES + source)
    if "no:asyncio" not in options:
        options = [*options, "-o", "asyncio_default_fixture_loop_scope=function"]
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
    result.assert_outcomes(passed=count)


FIDELITY = """
import pytest
from asyncposthog import ServerError

@pytest.mark.posthog_emulator(strict_fidelity=True)
class TestStrict:
    async def test_stateful(self, posthog):
        await posthog.feature_flags.create(key="beta")

    async def test_generated(self, posthog):
        await posthog.insights.my_last_viewed()

    async def test_caught(self, posthog):
        with pytest.raises(ServerError):
            await posthog.insights.my_last_viewed()

    @pytest.mark.posthog_emulator(strict_fidelity=False, project_id=7)
    async def test_not_strict(self, posthog, posthog_emulator):
        assert posthog_emulator.project_id == 7
        await posthog.insights.my_last_viewed()

async def test_default(posthog):
    await posthog.insights.my_last_viewed()
"""


def test_strict_fidelity(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FIDELITY)
    options = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers", *options)
    # The test that caught the error passes, and its fixture fails.
    result.assert_outcomes(passed=4, failed=1, errors=2)
    result.stdout.fnmatch_lines(["*does not implement insights.my_last_viewed*"])


def test_unused_plugin_imports_nothing() -> None:
    program = (
        "import pytest, sys; before = set(sys.modules); import posthog_emulator.pytest_plugin; "
        "new = set(sys.modules) - before; "
        "print(*sorted(new))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stderr == ""
    loaded = result.stdout.split()
    assert "posthog_emulator.pytest_plugin" in loaded
    assert not {"asyncposthog.client", "posthog_emulator.emulator", "httpx", "pydantic"} & {*loaded}
    assert len(loaded) < 10
