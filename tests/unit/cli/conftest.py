"""The program against a served emulator, one per module."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from asyncposthog.cli import main
from posthog_emulator import Emulator

from .helpers import CompletedCommand, served


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator()


@pytest.fixture(scope="module")
def url(emulator: Emulator) -> Iterator[str]:
    with served(emulator) as url:
        yield url


@pytest.fixture
def pointed(url: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables for the emulator."""
    for name in ("POSTHOG_API_KEY", "POSTHOG_API_URL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSTHOG_HOST", url)
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", emulator.key)
    monkeypatch.setenv("POSTHOG_PROJECT_ID", str(emulator.project_id))


Program = Callable[..., CompletedCommand]


@pytest.fixture
def program(pointed: None, capsys: pytest.CaptureFixture[str]) -> Program:
    """Return a function that runs the program in this process."""

    def run(*arguments: str) -> CompletedCommand:
        capsys.readouterr()
        status = main(arguments)
        out, err = capsys.readouterr()
        return CompletedCommand(status, out, err)

    return run
