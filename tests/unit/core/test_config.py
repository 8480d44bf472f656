"""Settings: where they come from, and what is refused."""

from __future__ import annotations

import copy
import pickle
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncposthog import AsyncPostHog, ConfigurationError, PostHogError, Secret
from asyncposthog.config import Settings, replace_settings, resolve_settings

KEY = "phx_abc"
ORGANIZATION = "01902f5c-0000-7000-8000-00000000abcd"


def settings(environ: dict[str, str] | None = None, **arguments: Any) -> Settings:
    return resolve_settings({"api_key": KEY, **arguments}, environ or {})


def test_environment_fills_what_arguments_leave_out() -> None:
    found = resolve_settings(
        {},
        {
            "POSTHOG_PERSONAL_API_KEY": "phx_env",
            "POSTHOG_PROJECT_ID": "42",
            "POSTHOG_PROJECT_API_KEY": "phc_env",
            "POSTHOG_ORGANIZATION_ID": ORGANIZATION.upper(),
            "POSTHOG_HOST": "https://eu.posthog.com",
        },
    )
    assert found.api_key.reveal() == "phx_env"
    assert found.project_id == 42
    assert found.project_api_key == Secret("phc_env")
    assert found.organization_id == ORGANIZATION
    assert found.hosts.region == "eu"


def test_second_names_of_variables() -> None:
    found = resolve_settings(
        {}, {"POSTHOG_API_KEY": "phx_2", "POSTHOG_API_URL": "https://ph.example.org/api"}
    )
    assert found.api_key.reveal() == "phx_2"
    assert found.host == "https://ph.example.org"


def test_first_names_win_and_empty_ones_do_not_count() -> None:
    environ = {
        "POSTHOG_PERSONAL_API_KEY": "phx_1",
        "POSTHOG_API_KEY": "phx_2",
        "POSTHOG_HOST": "",
        "POSTHOG_API_URL": "https://eu.posthog.com",
    }
    found = resolve_settings({}, environ)
    assert found.api_key.reveal() == "phx_1"
    assert found.hosts.region == "eu"


def test_arguments_win() -> None:
    environ = {
        "POSTHOG_API_KEY": "phx_env",
        "POSTHOG_PROJECT_ID": "42",
        "POSTHOG_HOST": "https://ph.example.org",
    }
    found = settings(environ, project_id=7, region="eu")
    assert found.api_key.reveal() == KEY
    assert found.project_id == 7
    assert found.host == "https://eu.posthog.com"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTHOG_PERSONAL_API_KEY", "phc_project"),
        ("POSTHOG_API_KEY", "phx_with a space"),
        ("POSTHOG_PROJECT_ID", "mine"),
        ("POSTHOG_PROJECT_API_KEY", "phx_private"),
        ("POSTHOG_ORGANIZATION_ID", "mine"),
        ("POSTHOG_HOST", "us.posthog.com"),
        ("POSTHOG_API_URL", "http://ph.example.org"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    environ = {"POSTHOG_API_KEY": "phx_env", variable: value}
    with pytest.raises(ConfigurationError, match=f"^{variable} in the environment: ") as caught:
        resolve_settings({}, environ)
    assert caught.value.suggestion
    assert "phx_private" not in str(caught.value)


def test_client_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHOG_PERSONAL_API_KEY", "phx_env")
    monkeypatch.setenv("POSTHOG_PROJECT_ID", "3")
    assert AsyncPostHog().settings.project_id == 3


@pytest.mark.parametrize(
    ("host", "app", "ingest"),
    [
        ("https://us.posthog.com", "https://us.posthog.com", "https://us.i.posthog.com"),
        ("https://app.posthog.com", "https://us.posthog.com", "https://us.i.posthog.com"),
        ("https://us.i.posthog.com/", "https://us.posthog.com", "https://us.i.posthog.com"),
        ("https://EU.posthog.com/api/", "https://eu.posthog.com", "https://eu.i.posthog.com"),
        ("https://eu.i.posthog.com", "https://eu.posthog.com", "https://eu.i.posthog.com"),
        ("https://ph.example.org", "https://ph.example.org", "https://ph.example.org"),
        ("https://ph.example.org:8443/", "https://ph.example.org:8443", None),
        ("https://example.org/analytics/api", "https://example.org/analytics", None),
        ("https://example.org/analytics/", "https://example.org/analytics", None),
        ("https://example.org/rapi", "https://example.org/rapi", None),
        ("http://localhost:8000", "http://localhost:8000", None),
        ("http://127.0.0.9:8000/api", "http://127.0.0.9:8000", None),
        ("http://[::1]:8000", "http://[::1]:8000", None),
        ("http://posthog.localhost", "http://posthog.localhost", None),
    ],
)
def test_hosts(host: str, app: str, ingest: str | None) -> None:
    hosts = settings(host=host).hosts
    assert (hosts.app, hosts.ingest) == (app, ingest or app)


def test_regions() -> None:
    assert settings().host == "https://us.posthog.com"
    assert settings(region="eu").hosts.ingest == "https://eu.i.posthog.com"
    assert settings(region="eu", host="https://eu.i.posthog.com").hosts.region == "eu"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"region": "eu", "host": "https://us.posthog.com"}, "contradict"),
        ({"region": "us", "host": "https://ph.example.org"}, "contradict"),
        ({"region": "de"}, "no region 'de'"),
        ({"host": "us.posthog.com"}, "does not begin with https://"),
        ({"host": "ftp://us.posthog.com"}, "does not begin with https://"),
        ({"host": "https://"}, "names no host"),
        ({"host": "https://:443"}, "names no host"),
        ({"host": "https://ph.example.org:"}, "names no host"),
        ({"host": "https://ph.example.org:99999"}, "ort"),
        ({"host": "https://[::1"}, "Invalid IPv6"),
        ({"host": " https://ph.example.org"}, "spaces"),
        ({"host": "https://ph.example.org\n"}, "spaces"),
        ({"host": "https://ph\N{GREEK SMALL LETTER ALPHA}.example.org"}, "characters"),
        ({"host": "https://ph.example.org\\x"}, "characters"),
        ({"host": "https://user:hunter2@ph.example.org"}, "user name"),
        ({"host": "https://ph.example.org/?token=hunter2"}, "query"),
        ({"host": "https://ph.example.org/#x"}, "fragment"),
        ({"host": "https://ph.example.org/a/../b"}, "dot segment"),
        ({"host": "https://ph.example.org//b"}, "empty"),
        ({"host": "https://posthog.com"}, "home page"),
        ({"host": "https://us.posthog.com/project/1"}, "a page of PostHog Cloud"),
        ({"host": "http://us.posthog.com"}, "unencrypted"),
        ({"host": "http://ph.example.org"}, "unencrypted"),
        ({"host": "http://10.0.0.1"}, "unencrypted"),
        ({"host": "http://localhost.example.org"}, "unencrypted"),
    ],
)
def test_refused_hosts(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(**arguments)
    assert says in str(caught.value)
    assert caught.value.suggestion
    assert "hunter2" not in str(caught.value)


def test_plain_http_where_it_is_allowed() -> None:
    assert settings(host="http://posthog:8000", allow_http=True).host == "http://posthog:8000"


def test_a_key_in_a_host_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(host="https://ph.example.org/phx_hunter2//x")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("phx_abc", "personal"),
        ("pha_abc", "oauth"),
        ("phs_abc", "project_secret"),
        ("0123456789abcdef", "unprefixed"),
    ],
)
def test_keys_of_every_kind(key: str, kind: str) -> None:
    assert settings(api_key=key).api_key.kind == kind
    assert settings(api_key=Secret(key)).api_key.reveal() == key


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("phc_hunter2", "project_api_key"),
        ("", "is empty"),
        ("phx_hunter2\n", "line breaks"),
        (" phx_hunter2", "spaces"),
        ("phx_hunter\N{HORIZONTAL ELLIPSIS}2", "outside ASCII"),
        ("Bearer phx_hunter2", "'Bearer'"),
    ],
)
def test_refused_keys(key: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(api_key=key)
    assert says in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_no_key_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_settings({"region": "eu"}, {})
    assert "POSTHOG_PERSONAL_API_KEY" in str(caught.value)
    assert "https://eu.posthog.com/settings/user-api-keys" in str(caught.value)
    assert isinstance(caught.value, PostHogError)
    assert isinstance(caught.value, ValueError)


def test_a_private_key_is_no_project_token() -> None:
    with pytest.raises(ConfigurationError, match="project token"):
        settings(project_api_key="phx_hunter2")


@pytest.mark.parametrize("value", [True, 1.0, b"1", [1], {"id": 1}])
def test_project_ids_of_the_wrong_type(value: object) -> None:
    with pytest.raises(TypeError, match="project_id must be the number"):
        settings(project_id=value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (-1, "1 or more"),
        (0, "1 or more"),
        ("0", "1 or more"),
        ("-1", "must be a number"),
        ("1.5", "must be a number"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "must be a number"),
        ("../1", "must be a number"),
        (" 1", "must be a number"),
        ("", "must be a number"),
        ("@current", "last opened in the browser"),
        ("phc_hunter2", "must be a number, not a key"),
    ],
)
def test_refused_project_ids(value: object, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(project_id=value)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_organizations() -> None:
    assert settings(organization_id=uuid.UUID(ORGANIZATION)).organization_id == ORGANIZATION
    for value in ("@current", "1", "01902f5c"):
        with pytest.raises(ConfigurationError):
            settings(organization_id=value)
    with pytest.raises(TypeError):
        settings(organization_id=1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"timeout": 0}, ConfigurationError),
        ({"timeout": -1}, ConfigurationError),
        ({"timeout": float("nan")}, ConfigurationError),
        ({"timeout": float("inf")}, ConfigurationError),
        ({"timeout": "60"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"deadline": -0.5}, ConfigurationError),
        ({"max_retries": -1}, ConfigurationError),
        ({"max_retries": 1.5}, TypeError),
        ({"max_retries": True}, TypeError),
        ({"max_retry_after": -1}, ConfigurationError),
        ({"max_response_bytes": -1}, ConfigurationError),
        ({"strict": 1}, TypeError),
        ({"read_only": "yes"}, TypeError),
        ({"allow_http": "yes"}, TypeError),
        ({"host": 1}, TypeError),
        ({"region": 1}, TypeError),
        ({"api_key": 1}, TypeError),
        ({"allow": "feature_flags.*"}, TypeError),
        ({"allow": [1]}, TypeError),
        ({"headers": [("a", "b")]}, TypeError),
        ({"headers": {"a": 1}}, TypeError),
        ({"headers": {"Authorization": "Bearer x"}}, ConfigurationError),
        ({"headers": {"host": "x"}}, ConfigurationError),
        ({"headers": {"a b": "x"}}, ConfigurationError),
        ({"headers": {"a": "x\r\nb: c"}}, ConfigurationError),
    ],
)
def test_other_refusals(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        settings(**arguments)
    assert type(caught.value) is error


def test_numbers_that_pass() -> None:
    found = settings(timeout=None, deadline=1, max_retries=0, max_response_bytes=None)
    assert (found.timeout, found.deadline, found.max_retries) == (None, 1.0, 0)


@given(st.text(alphabet="qxzjQXZJ_-", min_size=8))
def test_no_key_in_any_text(text: str) -> None:
    key = f"phx_{text}"
    found = settings(api_key=key)
    for shown in (
        repr(found),
        str(found),
        str(found.api_key),
        f"{found.api_key}",
        f"{found!r:>500}",
    ):
        assert text not in shown
    assert "phx_***" in repr(found)


def test_secrets_stay_secret() -> None:
    secret = Secret("0123456789abcdef")
    assert (str(secret), repr(secret)) == ("***", "Secret('***')")
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(settings())
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    assert secret == Secret("0123456789abcdef")
    assert secret != "0123456789abcdef"


def test_own_headers_are_not_shown() -> None:
    assert "hunter2" not in repr(settings(headers={"X-Proxy": "hunter2"}))


def test_changes_are_checked_as_well() -> None:
    assert replace_settings(settings(), {"project_id": "9"}).project_id == 9
    with pytest.raises(ConfigurationError):
        replace_settings(settings(), {"project_id": "@current"})
