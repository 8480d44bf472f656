"""A wrong attribute of the client or of a resource: the error suggests what exists."""

from __future__ import annotations

import copy

import pytest

from asyncposthog import AsyncPostHog

SUGGESTIONS = {
    "biling": ".billing",
    "saved_queries": "ph.warehouse_saved_queries.list",
    "vision_scanners": "ph.vision.scanners.list",
    "log_alerts": "ph.logs.alerts.list",
    "surveys.duplicate": ".duplicate_to_projects",
    "persons.lst": ".list",
}
"""What is asked for, and what the error has to name."""


def test_the_error_names_what_may_have_been_meant() -> None:
    client = AsyncPostHog("phx_x", project_id=1)
    for path, suggestion in SUGGESTIONS.items():
        owner = client
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        with pytest.raises(AttributeError) as caught:
            getattr(owner, name)
        words = str(caught.value).replace(",", " ").replace("?", " ").split()
        assert repr(name) in str(caught.value)
        assert suggestion in words, str(caught.value)


def test_asking_whether_there_is_an_attribute_works() -> None:
    client = AsyncPostHog("phx_x", project_id=1)
    assert not hasattr(client, "nothing_like_it")
    assert not hasattr(client.cohorts, "_private")
    assert getattr(client, "nothing_like_it", 7) == 7
    # Copying asks for special methods, also before the copy has any attribute.
    assert type(copy.copy(client.cohorts)) is type(client.cohorts)
