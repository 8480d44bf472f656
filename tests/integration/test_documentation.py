"""Every Python snippet of the README and the documentation runs, against the emulator."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncposthog import AsyncPostHog
from posthog_emulator import Emulator, serve_sync

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "data").glob("*.md")),
]
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets() -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in SNIPPET.finditer(text):
            line = text[: match.start()].count("\n") + 2
            where = f"{page.relative_to(ROOT)}:{line}"
            yield pytest.param(match.group(1), where, id=where)


@pytest.fixture(scope="module")
def docs_emulator() -> Emulator:
    """One emulator for all snippets; each finds it as it was at first."""
    return Emulator()


@pytest.fixture(scope="module")
def docs_url(docs_emulator: Emulator) -> Iterator[str]:
    """The one server for all snippets."""
    with serve_sync(docs_emulator) as url:
        yield url


@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:Using .httpx. with")  # of Starlette, which prefers httpx2
@pytest.mark.parametrize(("source", "where"), list(snippets()))
async def test_docs_snippet_runs(
    source: str,
    where: str,
    docs_emulator: Emulator,
    docs_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    docs_emulator.reset()
    docs_emulator.seed("cohorts", 3)
    if "sqlalchemy" in source:
        from sqlalchemy.dialects import registry

        # The entry point exists once the package is installed from this tree.
        registry.register("posthog", "asyncposthog.contrib.sqlalchemy", "PostHogDialect")
    monkeypatch.chdir(tmp_path)
    code = compile(source, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    monkeypatch.setenv("POSTHOG_HOST", docs_url)
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", docs_emulator.key)
    monkeypatch.setenv("POSTHOG_PROJECT_ID", "1")
    monkeypatch.setenv("POSTHOG_PROJECT_API_KEY", docs_emulator.project_token)
    async with AsyncPostHog() as ph:
        result = eval(code, {"ph": ph, "__name__": "snippet"})  # the snippet is ours
        if inspect.iscoroutine(result):
            await result


def test_there_are_snippets_to_run() -> None:
    assert len(list(snippets())) >= 8
