"""The state of an emulator in a directory: closed, killed and opened again."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator
from posthog_emulator.persistence import StateDirectory

from . import widget_api
from .conftest import client
from .request_builder import Caller

pytestmark = pytest.mark.anyio

WIDGETS = "/api/projects/1/widgets/"


def opened(path: Path, **more: Any) -> Emulator:
    return Emulator(widget_api.OPERATIONS, widget_api.SCHEMAS, path=path, **more)


async def read_all(emulator: Emulator, *paths: str) -> list[Any]:
    async with client(emulator) as http:
        return [(await http.get(path)).json() for path in paths]


async def test_the_state_is_restored(tmp_path: Path) -> None:
    box = tmp_path / "box" / "inner"
    with opened(box) as first:
        first.seed("widgets", 3, {"tags": ["é"]})
        first.add_key("phx_reader", scopes=["widget:read"], projects=[1])
        async with client(first) as http:
            assert (await http.post(WIDGETS, json={"name": "made"})).status_code == 201
            part = await http.post(f"{WIDGETS}1/parts/", json={"name": "p"})
            await http.patch(f"{WIDGETS}2/", json={"deleted": True})
            await http.patch("/api/projects/1/settings/", json={"limit": 7})
        paths = (
            WIDGETS,
            f"{WIDGETS}1/parts/",
            f"{WIDGETS}1/parts/{part.json()['id']}/",
            f"{WIDGETS}2/",
            "/api/projects/1/settings/",
        )
        before = await read_all(first, *paths)
    with opened(box) as second:
        assert await read_all(second, *paths) == before
        async with client(second, "phx_reader") as http:
            assert (await http.get(WIDGETS)).status_code == 200
            assert (await http.post(WIDGETS, json={"name": "b"})).status_code == 403
        assert second.add("widgets")["id"] == 5
        assert second.add("widgets.parts", parents=[1])["id"] != part.json()["id"]


async def test_every_kind_of_object_is_restored(tmp_path: Path) -> None:
    """Create an object of every kind, and list all before and after."""
    with Emulator(path=tmp_path) as first:
        caller = Caller(first)
        async with httpx.AsyncClient(transport=first.transport()) as http:
            for operation in first.state.operations:
                if first.state.plans.get(operation).kind in {"create", "write_singleton"}:
                    await http.send(caller.request(operation, "bare"))
        before = first.state.store
    with Emulator(path=tmp_path) as second:
        after = second.state.store
        assert after.sequence == before.sequence
        assert after.last_ids == before.last_ids
        assert after.singletons == before.singletons
        assert after.collections == {a: b for a, b in before.collections.items() if b.rows}
    assert len(after.collections) > 90


async def test_events_persons_and_flags_are_restored(tmp_path: Path) -> None:
    asked = {"api_key": "phc_emulator", "distinct_id": "ada"}
    frozen_at = "2026-03-01T12:00:00Z"

    async def seen(emulator: Emulator) -> list[str]:
        emulator.freeze(frozen_at)
        paths = ["persons", "events", "event_definitions", "feature_flags"]
        async with client(emulator) as http:
            answers = [await http.get(f"/api/projects/1/{name}/") for name in paths]
            flags = (await http.post("/flags/?v=2", json=asked)).json()["flags"]
        counted = emulator.state.events.read("SELECT event, distinct_id FROM events ORDER BY 1")
        return [*[answer.text for answer in answers], str(flags), str(counted)]

    with Emulator(path=tmp_path) as first:
        first.freeze(frozen_at)
        first.set_flag("nav", variant="b", distinct_id="ada")
        async with client(first) as http:
            sent = {**asked, "event": "signed up", "properties": {"$set": {"plan": "pro"}}}
            assert (await http.post("/i/v0/e/", json=sent)).status_code == 200
        before = await seen(first)
    assert "signed up" in before[-1]
    with Emulator(path=tmp_path) as second:
        assert await seen(second) == before


def test_a_killed_process_keeps_what_was_saved(tmp_path: Path) -> None:
    program = f"""
import os, signal
from posthog_emulator import Emulator
from posthog_emulator.persistence import StateDirectory
emulator = Emulator(path={str(tmp_path)!r})
emulator.settings.save_delay = 3600
emulator.seed("cohorts", 20)
emulator.save()
emulator.seed("cohorts", 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    with Emulator(path=tmp_path) as again:
        assert len(again.items("cohorts")) == 20


async def test_changes_by_requests_are_saved(tmp_path: Path) -> None:
    with opened(tmp_path) as emulator:
        emulator.settings.save_delay = 0.01
        async with client(emulator) as http:
            await http.get(WIDGETS)
            assert saving() == []
            await http.post(WIDGETS, json={"name": "kept"})
        for thread in saving():
            thread.join()
        state = json.loads((tmp_path / "state.json").read_text(encoding="utf-8"))
    ((_, _, _, data),) = state["buckets"][WIDGETS]
    assert data["name"] == "kept"
    assert saving() == []
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


CHANGES: dict[str, Callable[[Emulator], object]] = {
    "flag": lambda emulator: emulator.set_flag("nav"),
    "demo": lambda emulator: emulator.add_demo_events(50, days=2),
    "project": lambda emulator: emulator.add_project(7, member=False),
    "settle": lambda emulator: emulator.apply_pending_changes(),
    "add": lambda emulator: emulator.add("persons"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_by_methods_are_saved(tmp_path: Path, change: str) -> None:
    with Emulator(path=tmp_path) as emulator:
        emulator.settings.save_delay = 3600
        assert emulator.state.events.now() > 0
        assert saving() == []
        CHANGES[change](emulator)
        assert len(saving()) == 1
    assert saving() == []


async def test_an_event_captured_by_get_is_saved(tmp_path: Path) -> None:
    with Emulator(path=tmp_path) as emulator:
        emulator.settings.save_delay = 3600
        sent = {"api_key": "phc_emulator", "event": "seen", "distinct_id": "ada"}
        data = base64.b64encode(json.dumps(sent).encode()).decode()
        async with client(emulator) as http:
            assert (await http.get("/e/", params={"data": data})).status_code == 200
        assert len(saving()) == 1


async def test_foreign_projects_are_restored(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        first.add_project(7, member=False)
    with opened(tmp_path) as second:
        async with client(second) as http:
            assert (await http.get("/api/projects/7/widgets/")).status_code == 403


def saving() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "asyncposthog-emulator-saving"]


def test_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    emulator = opened(tmp_path)
    emulator.settings.save_delay = 3600
    emulator.add("widgets", {"name": "a"})
    assert len(saving()) == 1
    emulator.close()
    emulator.close()
    assert saving() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "state.json"]
    with opened(tmp_path) as again:
        again.reset()
    with opened(tmp_path) as empty:
        assert empty.items("widgets") == []


def test_closing_waits_for_a_running_save(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def write() -> tuple[int, str]:
        begun.set()
        go_on.wait()
        return 1, "{}"

    folder = StateDirectory(tmp_path, write)
    folder.schedule_save(0.0)
    begun.wait()
    folder.schedule_save(3600.0)
    closing = threading.Thread(target=folder.close)
    closing.start()
    go_on.set()
    closing.join()
    assert saving() == []
    assert (tmp_path / "state.json").read_text(encoding="utf-8") == "{}"


async def test_a_write_that_fails_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as emulator:
        emulator.settings.save_delay = 3600
        emulator.add("widgets", {"name": "a"})
        emulator.save()
        emulator.add("widgets", {"name": "b"})

        def full(_: int) -> None:
            raise OSError("no space left")

        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="no space left"):
                emulator.save()
            assert "widgets" in (tmp_path / "state.json").read_text(encoding="utf-8")
            state = json.loads((tmp_path / "state.json").read_text(encoding="utf-8"))
            assert len(state["buckets"][WIDGETS]) == 1
    with opened(tmp_path) as again:
        assert len(again.items("widgets")) == 2


def test_a_directory_in_use(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(BlockingIOError, match="in use by another emulator"):
        opened(tmp_path)
    opened(tmp_path).close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}'])
def test_an_unreadable_state(tmp_path: Path, text: str) -> None:
    file = tmp_path / "state.json"
    file.write_text(text, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"state\.json cannot be read .* move it away"):
            opened(tmp_path)
    assert file.read_text(encoding="utf-8") == text


def test_the_state_of_another_project(tmp_path: Path) -> None:
    with opened(tmp_path, project_id=7) as emulator:
        emulator.add("widgets")
    with pytest.raises(ValueError, match="project_id=7, not 1"):
        opened(tmp_path)


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    taken = tmp_path / "box"
    taken.write_text("mine", encoding="utf-8")
    with pytest.raises(NotADirectoryError, match="needs a directory"):
        opened(taken)


def test_save_without_a_directory(tiny: Emulator) -> None:
    with tiny as emulator:
        emulator.add("widgets")
        emulator.save()
    assert saving() == []
