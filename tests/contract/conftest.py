"""Fixtures of the contract tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import respx

from .server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server; nothing else can be reached."""
    with respx.mock(assert_all_called=True) as router:
        yield Server(router)
