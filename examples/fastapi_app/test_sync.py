"""Synchronous tests of the service, with Starlette's TestClient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from posthog_emulator import Emulator

from .app import app

# Newer versions of Starlette warn about httpx because they prefer httpx2.
pytestmark = pytest.mark.filterwarnings("ignore:Using .httpx. with")


@pytest.fixture
def service(
    posthog_url: str, posthog_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    from fastapi.testclient import TestClient

    client: Any = TestClient(app)
    monkeypatch.setenv("POSTHOG_HOST", posthog_url)
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", posthog_emulator.key)
    monkeypatch.setenv("POSTHOG_PROJECT_ID", str(posthog_emulator.project_id))
    # As a context manager it runs the lifespan, and all requests share one event loop.
    with client as http:
        yield http


def test_cohorts(service: httpx.Client, posthog_emulator: Emulator) -> None:
    posthog_emulator.seed("cohorts", 3)
    assert len(service.get("/cohorts").json()) == 3
    cohort = posthog_emulator.add("cohorts", {"name": "Power users"})
    assert service.get(f"/cohorts/{cohort['id']}").json()["name"] == "Power users"
    assert service.get("/cohorts/404").status_code == 404


def test_when_posthog_is_down(service: httpx.Client, posthog_emulator: Emulator) -> None:
    posthog_emulator.faults.fail(403, times=None)
    assert service.get("/cohorts").status_code == 503
    posthog_emulator.faults.clear()
    assert service.get("/navigation").json() == {"navigation": "old"}
