"""The notebook extension in a shell of IPython, over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncposthog import AsyncPostHog, QueryError
from asyncposthog.export import Progress
from posthog_emulator import Emulator
from tests.integration.data.conftest import END, ROWS

NAME = "asyncposthog.contrib.notebook"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def shell(data_emulator: Emulator, data_url: str) -> Iterator[Any]:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    shell: Any = InteractiveShell(config=settings)
    shell.user_ns["ph"] = AsyncPostHog(data_emulator.key, host=data_url, project_id=1)
    shell.extension_manager.load_extension(NAME)
    yield shell
    shell.extension_manager.unload_extension(NAME)
    assert "asyncposthog event loop" not in [thread.name for thread in threading.enumerate()]
    assert "hogql" not in shell.magics_manager.magics["cell"]


def test_cell_gives_a_table_and_sets_a_variable(shell: Any) -> None:
    shell.user_ns["since"] = END - timedelta(days=30)
    cell = "SELECT event, count() AS n FROM events WHERE timestamp > {since} GROUP BY event"
    result = shell.run_cell_magic("hogql", "counts", cell)
    assert sum(row[1] for row in result) == ROWS
    assert shell.user_ns["counts"] is result
    data, _ = shell.display_formatter.format(result)
    assert "<table>" in data["text/html"]
    assert shell.run_cell_magic("hogql", "frame --polars -q", cell) is None
    assert shell.user_ns["frame"]["n"].sum() == ROWS
    assert shell.run_line_magic("hogql", "SELECT 1").scalar() == 1


@pytest.mark.parametrize(
    ("line", "cell", "message"),
    [
        ("a b", "SELECT 1", "unrecognized arguments: b"),
        ("a --polars --pandas", "SELECT 1", "not allowed with"),
        ("a-b", "SELECT 1", "not the name of a variable"),
        ("--client nobody", "SELECT 1", "not an AsyncPostHog"),
        ("", " ", "empty"),
        ("", "SELECT {missing}", "no variable has that name"),
    ],
)
def test_mistakes_are_errors_of_the_cell(shell: Any, line: str, cell: str, message: str) -> None:
    from IPython.core.error import UsageError

    with pytest.raises(UsageError, match=message):
        shell.run_cell_magic("hogql", line, cell)


def test_failed_query_raises_the_error_of_the_client(shell: Any) -> None:
    with pytest.raises(QueryError, match="nope"):
        shell.run_cell_magic("hogql", "", "SELECT nope FROM events")


@pytest.mark.asyncio
async def test_models_reports_and_progress_are_html(
    shell: Any, data_emulator: Emulator, data_url: str, tmp_path: Path
) -> None:
    from asyncposthog.contrib.notebook import progress_html

    seen: list[Progress] = []
    async with AsyncPostHog(data_emulator.key, host=data_url, project_id=1) as ph:
        cohort = await ph.cohorts.list().first()
        job = ph.export.events(END - timedelta(days=30), END)
        report = await job.to_jsonl(tmp_path / "<b>.jsonl", on_progress=seen.append)
    html = shell.display_formatter.format(cohort)[0]["text/html"]
    assert "<td>id</td>" in html
    html = shell.display_formatter.format(report)[0]["text/html"]
    assert "&lt;b&gt;.jsonl" in html
    assert f"{ROWS:,} rows" in html
    assert f"{ROWS:,} of {ROWS:,} rows" in progress_html(seen[-1])


def test_example_goes_from_a_key_to_a_chart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import nbformat
    from nbclient import NotebookClient

    from posthog_emulator import serve_sync

    emulator = Emulator()
    emulator.add_demo_events(events=200, days=10)  # until now
    notebook: Any = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    with serve_sync(emulator) as url:
        monkeypatch.setenv("POSTHOG_HOST", url)
        monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", emulator.key)
        monkeypatch.setenv("POSTHOG_PROJECT_ID", "1")
        # Modules of the source tree, also in the process of the kernel.
        monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}")
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    chart = next(cell for cell in notebook.cells if "alt.Chart" in cell.source)
    assert "vega-lite" in chart.outputs[0]["data"]["text/html"]
