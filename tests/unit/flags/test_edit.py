"""`ph.feature_flags.edit`: only changes are written, and nobody else's are lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from asyncposthog import AsyncPostHog, ConflictError, NotFoundError, ReadOnlyError
from posthog_emulator import Emulator, serve
from tests.helpers.fake_transport import Server, client

pytestmark = pytest.mark.anyio


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.set_flag("other")
    shares = {"a": 40, "b": 30, "c": 30}
    filters = {
        "groups": [{"properties": [], "rollout_percentage": 100}],
        "multivariate": {
            "variants": [{"key": k, "rollout_percentage": share} for k, share in shares.items()]
        },
        "payloads": {"a": '{"x": 1}'},
    }
    emulator.add(
        "feature_flags", {"key": "beta", "name": "beta", "active": True, "filters": filters}
    )
    return emulator


@pytest.fixture
async def ph(emulator: Emulator) -> AsyncIterator[AsyncPostHog]:
    async with AsyncPostHog.emulated(emulator) as ph:
        yield ph


def stored(emulator: Emulator) -> dict[str, Any]:
    return emulator.items("feature_flags")[1]


def patches(emulator: Emulator) -> list[Any]:
    sent = emulator.requests.matching(operation="feature_flags.update")
    return [request.body for request in sent]


async def test_only_changed_fields_are_sent_with_the_version(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    version = stored(emulator)["version"]
    async with ph.feature_flags.edit("beta") as flag:
        assert (flag.key, flag.version) == ("beta", version)
        flag.name = "Beta programme"
        flag.filters["groups"][0]["rollout_percentage"] = 50
        assert stored(emulator)["name"] == "beta", "nothing is written before the end"
    [body] = patches(emulator)
    assert set(body) == {"name", "filters", "version", "original_flag"}
    assert body["version"] == version
    assert set(body["original_flag"]) == {"name", "filters"}
    assert body["original_flag"]["filters"]["groups"][0]["rollout_percentage"] == 100
    assert flag.saved is not None
    assert (flag.saved.name, flag.saved.version) == ("Beta programme", version + 1)
    assert stored(emulator)["filters"]["groups"][0]["rollout_percentage"] == 50
    assert stored(emulator)["filters"]["payloads"] == {"a": '{"x": 1}'}


async def test_nothing_is_written_without_a_change_or_after_an_error(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    async with ph.feature_flags.edit("beta") as flag:
        flag.filters["groups"][0]["rollout_percentage"] = 100
    assert flag.saved is None
    with pytest.raises(KeyError):  # noqa: PT012 - leaving the block is what is tested
        async with ph.feature_flags.edit("beta") as flag:
            flag.active = False
            raise KeyError
    assert patches(emulator) == []
    assert stored(emulator)["active"] is True


async def test_changes_of_others_are_kept(emulator: Emulator, ph: AsyncPostHog) -> None:
    async with ph.feature_flags.edit("beta") as mine:
        async with ph.feature_flags.edit("beta") as theirs:
            theirs.name = "Theirs"
            theirs.filters["payloads"]["b"] = "2"
        mine.filters["payloads"]["c"] = "3"
        mine.active = False
    flag = stored(emulator)
    assert (flag["name"], flag["active"]) == ("Theirs", False)
    assert flag["filters"]["payloads"] == {"a": '{"x": 1}', "b": "2", "c": "3"}
    # Theirs, mine (409), mine merged.
    assert len(patches(emulator)) == 3
    assert mine.saved is not None
    assert mine.saved.version == flag["version"]


async def test_a_real_conflict_is_raised_and_nothing_written(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    with pytest.raises(ConflictError) as caught:  # noqa: PT012 - leaving the block raises
        async with ph.feature_flags.edit("beta") as mine:
            async with ph.feature_flags.edit("beta") as theirs:
                theirs.filters["groups"][0]["rollout_percentage"] = 10
            mine.filters["groups"][0]["rollout_percentage"] = 20
            mine.name = "Mine"
    assert "changed filters.groups" in str(caught.value)
    assert stored(emulator)["filters"]["groups"][0]["rollout_percentage"] == 10
    assert stored(emulator)["name"] == "beta"


async def test_the_same_change_by_both_is_no_conflict(emulator: Emulator, ph: AsyncPostHog) -> None:
    async with ph.feature_flags.edit("beta") as mine:
        async with ph.feature_flags.edit("beta") as theirs:
            theirs.active = False
        mine.active = False
    assert stored(emulator)["active"] is False


async def test_an_endless_conflict_ends() -> None:
    flag = {"id": 7, "key": "beta", "version": 1, "filters": {"groups": []}, "active": True}
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            bodies.append(json.loads(request.content))
            return httpx.Response(409, json={"code": "conflict", "detail": "Somebody was faster."})
        flag["version"] += 1  # type: ignore[operator]
        return httpx.Response(200, json=flag)

    async with client(Server(answer)) as ph:
        with pytest.raises(ConflictError):
            async with ph.feature_flags.edit(7) as draft:
                draft.active = False
    assert [body["version"] for body in bodies] == [2, 3, 4, 5]


async def test_a_flag_without_a_version_is_written_without_one() -> None:
    server = Server(httpx.Response(200, json={"id": 7, "key": "beta", "active": True}))
    async with client(server) as ph, ph.feature_flags.edit(7) as draft:
        draft.active = False
    assert json.loads(server.last.content) == {"active": False}


async def test_the_key_has_to_be_exact(emulator: Emulator, ph: AsyncPostHog) -> None:
    emulator.set_flag("beta-2")
    with pytest.raises(NotFoundError, match="'bet'"):
        async with ph.feature_flags.edit("bet"):
            raise AssertionError("the block must not run")
    async with ph.feature_flags.edit("beta-2") as flag:
        flag.tags = ["new"]
    assert emulator.items("feature_flags")[2]["tags"] == ["new"]


async def test_a_read_only_client_refuses_at_once(emulator: Emulator) -> None:
    async with AsyncPostHog.emulated(emulator, read_only=True) as ph:
        with pytest.raises(ReadOnlyError, match=r"feature_flags\.update"):
            ph.feature_flags.edit("beta")
    assert len(emulator.requests) == 0


async def test_over_a_socket(emulator: Emulator) -> None:
    async with serve(emulator) as url, AsyncPostHog(emulator.key, project_id=1, host=url) as ph:
        async with ph.feature_flags.edit(stored(emulator)["id"]) as flag:
            flag.evaluation_runtime = "server"
        assert stored(emulator)["evaluation_runtime"] == "server"
        assert repr(flag) == f"<FlagDraft 'beta' id={flag.id} version={flag.version}>"


async def test_a_stale_version_alone_is_no_conflict(emulator: Emulator, ph: AsyncPostHog) -> None:
    """As on the server: it compares the fields with the original values that are sent."""
    flag = stored(emulator)
    change: dict[str, Any] = {"name": "x", "version": 0}
    path = f"/api/projects/1/feature_flags/{flag['id']}/"
    await ph.request("PATCH", path, body=change)
    with pytest.raises(ConflictError):
        await ph.request(
            "PATCH", path, body={**change, "name": "y", "original_flag": {"name": "beta"}}
        )


async def test_a_misspelled_field_is_no_change_that_gets_lost(
    emulator: Emulator, ph: AsyncPostHog
) -> None:
    with pytest.raises(AttributeError, match="actve"):
        async with ph.feature_flags.edit("beta") as flag:
            flag.actve = False  # type: ignore[attr-defined]
    assert patches(emulator) == []
