"""Invalid settings, and secrets that are never shown."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from typing import Any

import anyio
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog.errors import ConfigurationError
from asyncposthog.rate_limits.stores.redis import RedisStore
from asyncposthog.rate_limits.stores.redis.address import parse_url

from .helpers import WINDOW, fill, fleet
from .redis_server import Server, running, server_program


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is empty"),
        ("localhost:6379", "has no scheme"),
        ("hunter2://host", "has no scheme"),
        ("//host", "has no scheme"),
        ("http://host:6379", "begins with http://"),
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://:hunter2@/0", "names no host"),
        ("redis://host:port", "has a port that is not a number up to 65535"),
        ("redis://host:0", "has port 0"),
        ("redis://host:99999", "has a port that is not a number up to 65535"),
        ("redis://[::1/0", "unbalanced brackets"),
        ("redis://host/zero", "number of a database"),
        ("redis://host/0/1", "number of a database"),
        ("redis://:hun#ter2@host/0", "has a part after #"),
        ("redis://:hunter2@host/0#x", "has a part after #"),
        ("redis://host /0", "has spaces"),
        ("redis://hö:hunter2@host", "outside ASCII"),
        ("unix://", "names no socket"),
        ("unix:///", "names no socket"),
        ("redis://:hunter2@host?speed=high", "options after ? that redis-py does not accept"),
        ("redis://:hunter2@host?db=hunter2", "options after ? that redis-py does not accept"),
    ],
)
def test_invalid_urls(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStore(url)
    assert said in str(caught.value)
    assert caught.value.suggestion
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host", "redis://host:6379"),
        ("rediss://user:hunter2@host:6380/7", "rediss://host:6380/7"),
        ("redis://:hunter2@[::1]/", "redis://[::1]:6379/"),
        ("redis://host?protocol=3&password=hunter2", "redis://host:6379"),
        ("unix://:hunter2@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_nothing_secret_is_shown(url: str, shown: str) -> None:
    store = RedisStore(url)
    assert repr(store) == f"RedisStore({shown!r}, on_failure='open')"
    assert parse_url(url).display == shown
    assert "hunter2" not in repr(vars(store))


@given(st.text(max_size=40) | st.from_regex(r"rediss?://[!-~]{0,20}@?[!-~]{0,20}", fullmatch=True))
def test_any_text_is_accepted_or_rejected_as_a_url(url: str) -> None:
    try:
        address = parse_url(url)
    except ConfigurationError:
        return
    assert address.display.startswith(("redis://", "rediss://", "unix://"))
    assert "@" not in address.display or url.startswith("unix://")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"on_failure": "ajar"}, ConfigurationError, "'ajar'"),
        ({"prefix": ""}, ConfigurationError, "prefix"),
        ({"prefix": "a{b}"}, ConfigurationError, "braces"),
        ({"prefix": "a b"}, ConfigurationError, "prefix"),
        ({"prefix": 1}, TypeError, "prefix"),
        ({"timeout": 0}, ConfigurationError, "timeout"),
        ({"timeout": float("nan")}, ConfigurationError, "timeout"),
        ({"timeout": None}, TypeError, "timeout"),
        ({"lease": -1.0}, ConfigurationError, "lease"),
        ({"slot_lease": 10**9}, ConfigurationError, "slot_lease"),
        ({"processes": 0}, ConfigurationError, "processes"),
        ({"processes": 1.5}, TypeError, "processes"),
        ({"processes": True}, TypeError, "processes"),
        ({"cluster": "yes"}, TypeError, "cluster"),
    ],
)
def test_other_settings(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        RedisStore("redis://host", **options)
    assert said in str(caught.value)


def test_the_url_must_be_text() -> None:
    with pytest.raises(TypeError, match="must be a str"):
        RedisStore(b"redis://host")  # type: ignore[arg-type]


def test_without_redis_py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError) as caught:
        RedisStore("redis://host")
    assert "pip install 'asyncposthog[redis]'" in str(caught.value.suggestion)


def test_trio_is_refused_at_once() -> None:
    store = RedisStore("redis://127.0.0.1:1")

    async def main() -> None:
        store.windows((WINDOW,))

    with pytest.raises(ConfigurationError, match="does not work on trio"):
        anyio.run(main, backend="trio")


@pytest.mark.anyio
@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_a_wrong_password_is_a_configuration_error(
    private_redis: Server, caplog: pytest.LogCaptureFixture, on_failure: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    private_redis.start()
    with private_redis.client() as admin:
        admin.config_set("requirepass", "secret")
    url = private_redis.url.replace("//", "//:hunter2@")
    store = RedisStore(url, on_failure=on_failure, timeout=30.0)
    windows = store.windows((WINDOW,))
    for _ in range(2):
        with pytest.raises(ConfigurationError) as caught:
            await windows.acquire(1)
        assert "AuthenticationError" in str(caught.value)
        shown = "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in shown + caplog.text
    await windows.release(1)
    await store.aclose()


@pytest.mark.anyio
async def test_a_missing_password_is_a_configuration_error(private_redis: Server) -> None:
    private_redis.start()
    with private_redis.client() as admin:
        admin.config_set("requirepass", "secret")
    store = RedisStore(private_redis.url, timeout=30.0)
    with pytest.raises(ConfigurationError, match="AuthenticationError, NOAUTH") as caught:
        await store.windows((WINDOW,)).acquire(1)
    assert "password" in str(caught.value.suggestion)
    await store.aclose()


@pytest.mark.anyio
async def test_a_database_that_does_not_exist(redis_server: Server) -> None:
    store = RedisStore(f"{redis_server.url}99", timeout=30.0)
    with pytest.raises(ConfigurationError, match="cannot be used with these settings"):
        await store.windows((WINDOW,)).acquire(1)
    await store.aclose()


@pytest.mark.anyio
async def test_a_fork_is_another_process(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(redis_server) as them:
        windows = them.windows(WINDOW)
        await fill(windows, 1)
        parent = os.getpid()
        client = windows._settings.connection._client  # pyright: ignore[reportPrivateUsage]
        assert client is not None
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        await fill(windows, 1)
        # The same number is another ticket.
        assert (await windows.usage())[0].used == 2
        await client.aclose()


@pytest.mark.anyio
async def test_a_cluster() -> None:
    with running(server_program(), "--cluster-enabled", "yes") as server:
        with server.client() as admin:
            admin.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            state = ""
            for _ in range(6000):
                state = str(admin.execute_command("CLUSTER", "INFO"))
                if "cluster_state:ok" in state:
                    break
                await anyio.sleep(0.01)
            assert "cluster_state:ok" in state
        store = RedisStore(server.url, timeout=30.0, cluster=True)
        windows = store.windows((WINDOW,))
        # Keys in several hash slots would be an error.
        await fill(windows, 1, 2)
        assert (await windows.usage())[0].used == 2
        await store.aclose()


@pytest.mark.anyio
async def test_a_server_that_is_not_a_cluster(redis_server: Server) -> None:
    store = RedisStore(redis_server.url, timeout=30.0, cluster=True)
    with pytest.raises(ConfigurationError, match="cannot be used with these settings"):
        await store.windows((WINDOW,)).acquire(1)
    await store.aclose()


def test_the_supported_redis_py() -> None:
    assert int(redis.__version__.partition(".")[0]) >= 5


def test_redis_py_is_imported_when_it_is_used() -> None:
    code = (
        "import sys, asyncposthog.rate_limits.stores.redis; "
        "print(sorted({'redis', 'httpx'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
