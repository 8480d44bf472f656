"""The documented usage of Maton's PostHog skill: each of its snippets, through the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from asyncposthog import AsyncPostHog
from asyncposthog.errors import AuthenticationError, RateLimitError, ValidationError
from asyncposthog.gateways import Maton, MissingConnectionError
from posthog_emulator import Emulator, serve_sync
from tests.helpers.fake_maton import FakeMaton

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def gateway(demo: Emulator) -> FakeMaton:
    """The gateway, with two connections."""
    demo.seed("persons", 1)
    fake = FakeMaton(demo)
    fake.connect()
    fake.connect()
    return fake


@pytest.fixture(scope="module")
def gateway_url(gateway: FakeMaton) -> Iterator[str]:
    with serve_sync(gateway) as url:
        yield url


@pytest.fixture
def maton(gateway: FakeMaton, gateway_url: str, monkeypatch: pytest.MonkeyPatch) -> Maton:
    """`Maton()`, pointed to the emulator of the gateway."""
    for name in ("POSTHOG_PERSONAL_API_KEY", "POSTHOG_API_KEY", "POSTHOG_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MATON_API_KEY", gateway.key)
    return Maton(url=f"{gateway_url}/posthog", control_url=gateway_url)


@pytest.fixture
async def ph(maton: Maton) -> AsyncIterator[AsyncPostHog]:
    async with AsyncPostHog(gateway=maton) as client:
        yield client


async def test_connections_are_managed(maton: Maton) -> None:
    active = await maton.connections.list(status="ACTIVE")
    assert len(active) == 2
    connection = await maton.connections.create()
    assert connection.status == "PENDING"
    found = await maton.connections.get(connection.id)
    assert found.url is not None
    assert found.url.startswith("https://connect.maton.ai/?session_token=")
    assert found.app == "posthog"
    await maton.connections.delete(connection.id)
    assert len(await maton.connections.list(status=None)) == 2


async def test_a_connection_is_chosen(gateway: FakeMaton, gateway_url: str) -> None:
    connection = gateway.found[1]["connection_id"]
    maton = Maton(gateway.key, connection=connection, url=f"{gateway_url}/posthog")
    async with AsyncPostHog(gateway=maton) as ph:
        page = await ph.projects.list()
    assert [project.id for project in page]
    assert gateway.requests[-1][2]["maton-connection"] == connection


async def test_account(ph: AsyncPostHog, demo: Emulator) -> None:
    organization = await ph.organizations.current()
    assert str(organization.id) == demo.organization_id
    page = await ph.projects.list()
    assert [project.id for project in page] == [demo.project_id]
    assert (await ph.projects.current()).id == demo.project_id
    assert (await ph.users.me()).email


async def test_hogql(ph: AsyncPostHog) -> None:
    result = await ph.query(
        "SELECT event, count() FROM events GROUP BY event ORDER BY count() DESC LIMIT 10"
    )
    assert result.columns == ("event", "count()")
    assert result.rows[0][0] == "$pageview"


async def test_persons_and_pagination(ph: AsyncPostHog) -> None:
    page = await ph.persons.list(limit=10)
    assert "us.posthog.com" in str(page.raw["next"])
    person = await ph.persons.get(str(page[0].uuid))
    assert person.distinct_ids
    later = await ph.persons.list(limit=10, offset=20)
    assert {p.uuid for p in later}.isdisjoint({p.uuid for p in page})
    first = await ph.persons.list(limit=10).collect(25)
    assert len({p.uuid for p in first}) == 25


async def test_dashboards_and_insights(ph: AsyncPostHog) -> None:
    assert len(await ph.dashboards.list()) == 3
    dashboard = await ph.dashboards.create(name="My Dashboard", description="Analytics overview")
    await ph.dashboards.update(dashboard.id, name="Updated Dashboard Name")
    assert (await ph.dashboards.get(dashboard.id)).name == "Updated Dashboard Name"
    insight = await ph.insights.create(
        name="Daily Active Users",
        query={
            "kind": "InsightVizNode",
            "source": {
                "kind": "TrendsQuery",
                "series": [{"kind": "EventsNode", "event": "$pageview", "math": "dau"}],
                "interval": "day",
                "dateRange": {"date_from": "-30d"},
            },
        },
    )
    assert (await ph.insights.get(insight.id)).name == "Daily Active Users"
    assert insight.id in [found.id async for found in ph.insights.list(limit=10)]


async def test_feature_flags(ph: AsyncPostHog) -> None:
    flag = await ph.feature_flags.create(
        key="my-feature-flag",
        name="My Feature Flag",
        active=True,
        filters={"groups": [{"rollout_percentage": 100}]},
    )
    assert flag.id in [found.id async for found in ph.feature_flags.list()]
    assert (await ph.feature_flags.update(flag.id, active=False)).active is False
    await ph.feature_flags.delete(flag.id)  # sends {"deleted": true}
    assert flag.id not in [found.id async for found in ph.feature_flags.list()]


async def test_cohorts_actions_and_annotations(ph: AsyncPostHog) -> None:
    cohort = await ph.cohorts.create(
        name="Active Users",
        groups=[
            {"properties": [{"key": "$pageview", "type": "event", "value": "performed_event"}]}
        ],
    )
    assert (await ph.cohorts.get(cohort.id)).name == "Active Users"
    assert cohort.id in [found.id async for found in ph.cohorts.list()]
    action = await ph.actions.create(name="Signed Up", steps=[{"event": "$identify"}])
    assert action.id in [found.id async for found in ph.actions.list()]
    annotation = await ph.annotations.create(
        content="New feature launched", date_marker="2026-02-23T00:00:00Z", scope="project"
    )
    assert annotation.id in [found.id async for found in ph.annotations.list()]


async def test_recordings_surveys_and_experiments(ph: AsyncPostHog) -> None:
    assert await ph.session_recordings.list(limit=10).collect(10) == []
    survey = await ph.surveys.create(
        name="NPS Survey",
        type="popover",
        questions=[{"type": "rating", "question": "How likely are you to recommend us?"}],
    )
    assert survey.id in [found.id async for found in ph.surveys.list()]
    experiment = await ph.experiments.create(
        name="Button Color Test", feature_flag_key="button-color-test"
    )
    assert experiment.id in [found.id async for found in ph.experiments.list()]


async def test_definitions(ph: AsyncPostHog) -> None:
    events = await ph.event_definitions.list(limit=10)
    assert "$pageview" in {definition.name for definition in events}
    assert await ph.property_definitions.list(limit=10)


async def test_paths_are_called_as_in_the_snippets(ph: AsyncPostHog) -> None:
    projects = await ph.request("GET", "/api/projects/")
    assert projects["count"] == 1
    body = {
        "query": {
            "kind": "HogQLQuery",
            "query": "SELECT event, count() FROM events GROUP BY event LIMIT 10",
        }
    }
    data = await ph.request("POST", "/api/projects/{project_id}/query/", body=body)
    assert data["results"]
    # @current is whatever project was last opened in the browser: not for what is sent by POST.
    with pytest.raises(ValueError, match="@current"):
        await ph.request("POST", "/api/projects/@current/query/", body=body)


async def test_errors(ph: AsyncPostHog, gateway: FakeMaton, gateway_url: str) -> None:
    with pytest.raises(ValidationError):
        await ph.feature_flags.create(key="", name="without a key")
    lost = Maton(gateway.key, connection="deleted", url=f"{gateway_url}/posthog")
    async with AsyncPostHog(gateway=lost) as other:
        with pytest.raises(MissingConnectionError):
            await other.projects.list()
    async with AsyncPostHog(gateway=Maton("wrong", url=f"{gateway_url}/posthog")) as other:
        with pytest.raises(AuthenticationError):
            await other.projects.list()
    gateway.emulator.faults.fail(429, path="/api/projects/*/surveys/*")
    with pytest.raises(RateLimitError):
        await ph.with_options(max_retries=0).surveys.list()


async def test_rate_limits(ph: AsyncPostHog) -> None:
    await ph.insights.list()
    await ph.query("SELECT 1")
    await ph.feature_flags.list()
    limits = {name: bucket.limit for name, bucket in ph.rate_limits.buckets.items()}
    assert {
        "maton_analytics_minute": 240, "maton_analytics_hour": 1200, "maton_hogql_hour": 120,
        "maton_other_minute": 480, "maton_other_hour": 4800,
    }.items() <= limits.items()  # fmt: skip
