"""What the status page shows, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Final

from posthog_emulator.http.errors import method_not_allowed
from posthog_emulator.http.messages import Answer, Request, text_answer
from posthog_emulator.recorder import RecordedRequest
from posthog_emulator.state import EmulatorState

if TYPE_CHECKING:
    from posthog_emulator.core import EmulatorCore

__all__ = ["Bucket", "DashboardData", "EventsPerMinute", "Resource", "look", "page", "rendered"]

MINUTES: Final = 60
_REQUESTS: Final = 40


@dataclass(frozen=True, slots=True)
class Resource:
    """How many objects a resource has, over all parents."""

    name: str
    live: int
    deleted: int


@dataclass(frozen=True, slots=True)
class EventsPerMinute:
    """Events by the minute in which they came."""

    until: datetime
    """The end of the last minute."""
    counts: tuple[int, ...]
    """The oldest first."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is used of a rate limit."""

    name: str
    whose: str
    used: int
    limit: int
    reset: float
    """Seconds until it is one less."""


@dataclass(frozen=True, slots=True)
class DashboardData:
    """Everything there is to see."""

    now: datetime
    project: str
    resources: tuple[Resource, ...]
    requests: tuple[RecordedRequest, ...]
    """The latest, the newest first."""
    seen: int
    """How many requests are remembered."""
    events: int
    persons: int
    minutes: EventsPerMinute
    limited: bool
    """Whether rate limits are on."""
    buckets: tuple[Bucket, ...]
    running: int
    slots: int


def look(emulator: EmulatorCore) -> DashboardData:
    """Take everything in, at one moment."""
    world, now = emulator.world, emulator.now
    events, persons, minutes = _events(world, now)
    project = emulator.project_id
    return DashboardData(
        now=now,
        project=f"{world.accounts.account.project_name} ({project})",
        resources=tuple(_resource_counts(world)),
        requests=tuple(reversed(emulator.requests[-_REQUESTS:])),
        seen=len(emulator.requests),
        events=events,
        persons=persons,
        minutes=minutes,
        limited=emulator.settings.rate_limits,
        buckets=tuple(_buckets(emulator)),
        running=emulator.slots.running(project),
        slots=emulator.slots.limit(project),
    )


def _resource_counts(world: EmulatorState) -> Iterable[Resource]:
    live, deleted = Counter[str](), Counter[str]()
    for address, bucket in world.store.buckets.items():
        name = _name(world, address)
        live[name] += sum(not row.deleted for row in bucket)
        deleted[name] += sum(row.deleted for row in bucket)
    for name in sorted(live, key=lambda name: (-live[name], name)):
        if live[name] or deleted[name]:
            yield Resource(name, live[name], deleted[name])


def _name(world: EmulatorState, address: str) -> str:
    """The resource whose objects are at an address, as the client calls it."""
    match = world.router.find(address)
    if match is None:
        return address
    return next(iter(match.methods.values()))[0].resource


def _events(world: EmulatorState, now: datetime) -> tuple[int, int, EventsPerMinute]:
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    try:
        store = world.events
    except ImportError:
        return 0, 0, EventsPerMinute(end, (0,) * MINUTES)
    ((events, latest),) = store.read("SELECT count(*), max(created_at) FROM events")
    ((persons,),) = store.read("SELECT count(*) FROM persons")
    if latest is not None:
        latest = latest.replace(tzinfo=UTC)
        if not now - timedelta(minutes=MINUTES) < latest <= now:
            # All is long ago, as demo data is: show the last hour there was.
            end = latest.replace(second=0, microsecond=0) + timedelta(minutes=1)
    start = end - timedelta(minutes=MINUTES)
    counts = [0] * MINUTES
    for at, count in store.read(
        "SELECT CAST(floor(epoch(created_at - ?::TIMESTAMP) / 60) AS INTEGER), count(*) "
        "FROM events WHERE created_at >= ?::TIMESTAMP AND created_at < ?::TIMESTAMP GROUP BY 1",
        [start.replace(tzinfo=None), start.replace(tzinfo=None), end.replace(tzinfo=None)],
    ):
        counts[at] = count
    return events, persons, EventsPerMinute(end, tuple(counts))


def _buckets(emulator: EmulatorCore) -> Iterable[Bucket]:
    account = emulator.world.accounts.account
    subjects = [(key, f"key {_masked(key)}") for key in emulator.world.accounts.keys]
    subjects += [
        (str(account.project_id), f"project {account.project_id}"),
        (account.organization_id, "organization"),
    ]
    for subject, whose in subjects:
        for name, usage in sorted(emulator.throttles.usage(subject).items()):
            yield Bucket(name, whose, usage.used, usage.limit, usage.reset)


def _masked(key: str) -> str:
    return f"{key[:4]}…{key[-3:]}" if len(key) > 10 else "…"


_WIDTH, _HEIGHT = 720, 120
_INNER = ' class="inner"'


def page(emulator: EmulatorCore, request: Request) -> Answer:
    """Answer with the page.

    Raises:
        Problem: 405, it can only be got.
    """
    if request.method not in {"GET", "HEAD"}:
        raise method_not_allowed(request.method, ["GET", "HEAD"])
    answer = text_answer(200, rendered(look(emulator)), "text/html; charset=utf-8")
    answer.headers += [
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return answer


def rendered(sight: DashboardData) -> str:
    """The page as HTML; everything in it that came from outside is escaped."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<link rel="icon" href="data:,">
<title>PostHog in a box</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>PostHog in a box</h1>
<p>{escape(sight.project)} · {sight.now:%Y-%m-%d %H:%M:%S} UTC · refreshes every 5 s</p>
</header>
<main>
<dl class="figures">
{_figure("Events", sight.events)}
{_figure("Persons", sight.persons)}
{_figure("Objects", sum(resource.live for resource in sight.resources))}
{_figure("Requests", sight.seen)}
</dl>
<section class="wide"><h2>Events per minute</h2>{_chart(sight.minutes)}</section>
<section class="wide"><h2>Last requests</h2>{_requests(sight.requests)}</section>
<section><h2>Resources</h2>{_resources(sight.resources)}</section>
<section><h2>Rate limits</h2>{_limits(sight)}</section>
</main>
</body>
</html>
"""


def _figure(name: str, value: int) -> str:
    return f"<div><dt>{name}</dt><dd>{value:,}</dd></div>"


def _chart(minutes: EventsPerMinute) -> str:
    most = max(minutes.counts)
    step = _WIDTH / MINUTES
    bars: list[str] = []
    for place, count in enumerate(minutes.counts):
        if not count:
            continue
        high = max(1.5, count / most * _HEIGHT)
        left = MINUTES - place
        ago = "in the last minute" if left == 1 else f"{left} minutes before the end"
        bars.append(
            f'<rect x="{place * step + 1:.1f}" y="{_HEIGHT - high:.1f}" '
            f'width="{step - 2:.1f}" height="{high:.1f}" rx="1.5">'
            f"<title>{count:,} events {ago}</title></rect>"
        )
    marks = "".join(
        f'<text x="{_WIDTH * part / 4:.0f}" y="{_HEIGHT + 18}" text-anchor="{anchor}"'
        f"{_INNER if part % 2 else ''}>"
        f"{_clock(minutes, part)}</text>"
        for part, anchor in ((0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (4, "end"))
    )
    return (
        f'<svg viewBox="0 -14 {_WIDTH} {_HEIGHT + 38}" role="img" '
        f'aria-label="{sum(minutes.counts):,} events in {MINUTES} minutes">'
        f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}"/>'
        f'<text x="0" y="-3">{most:,} at most</text>{"".join(bars)}{marks}</svg>'
    )


def _clock(minutes: EventsPerMinute, part: int) -> str:
    return f"{minutes.until - timedelta(minutes=MINUTES * (4 - part) / 4):%H:%M}"


def _requests(requests: tuple[RecordedRequest, ...]) -> str:
    if not requests:
        return "<p>None yet.</p>"
    rows = "".join(
        f"<tr><td>{request.at:%H:%M:%S}</td><td>{escape(request.method)}</td>"
        f'<td><b class="{_status_class(request.status)}">{request.status or "dropped"}</b></td>'
        f'<td class="path">{escape(request.path)}{_below(request.operation)}</td>'
        f'<td class="number">{request.seconds * 1000:,.1f} ms</td></tr>'
        for request in requests
    )
    return (
        '<div class="scroll"><table><thead><tr><th>Time</th><th>Method</th><th>Status</th>'
        "<th>Path</th>"
        f'<th class="number">Took</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _below(text: str | None) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _status_class(status: int) -> str:
    if status == 0 or status >= 500:
        return "bad"
    return "poor" if status >= 400 else "good"


def _resources(resources: tuple[Resource, ...]) -> str:
    rows = "".join(
        f'<tr><td class="path">{escape(resource.name)}</td>'
        f'<td class="number">{resource.live:,}</td>'
        f'<td class="number quiet">{f"{resource.deleted:,}" if resource.deleted else ""}</td></tr>'
        for resource in resources
    )
    return (
        '<div class="scroll"><table><thead><tr><th>Resource</th><th class="number">Objects</th>'
        f'<th class="number">Deleted</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _limits(sight: DashboardData) -> str:
    if not sight.limited:
        return "<p>Off. <code>Emulator(rate_limits=True)</code> switches them on.</p>"
    rows = "".join(_limit(bucket) for bucket in sight.buckets)
    return (
        f"<p>{sight.running} of {sight.slots} queries running.</p>"
        '<div class="scroll"><table><thead><tr><th>Bucket</th><th>Used</th>'
        f'<th class="number">Resets in</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _limit(bucket: Bucket) -> str:
    full = "bad" if bucket.used >= bucket.limit else "good"
    return (
        f'<tr><td class="path">{escape(bucket.name)}{_below(bucket.whose)}</td>'
        f'<td><b class="{full}">{bucket.used:,} / {bucket.limit:,}</b>'
        f'<meter max="{bucket.limit}" value="{bucket.used}"></meter></td>'
        f'<td class="number">{bucket.reset:,.0f} s</td></tr>'
    )


_STYLE = """
:root { color-scheme: light dark; --back: #f6f6f3; --card: #fff; --text: #1d1f27;
  --quiet: #6b6f7b; --line: #e2e3dc; --accent: #1d4aff; --good: #14794a; --poor: #a15c00;
  --bad: #c22a2a; }
@media (prefers-color-scheme: dark) { :root { --back: #16171b; --card: #1f2026; --text: #ececec;
  --quiet: #9a9da8; --line: #32343d; --accent: #7d9bff; --good: #55c98d; --poor: #e3a94a;
  --bad: #ff7b7b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--back);
  color: var(--text); font: 14px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.4rem; }
h2 { margin: 0 0 .75rem; font-size: 1rem; }
header p { margin: 0 0 1.25rem; color: var(--quiet); }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
  gap: 1rem; align-items: start; }
section, .figures div { min-width: 0; padding: 1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .6rem; }
.wide, .figures { grid-column: 1 / -1; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.5rem, 1fr)); gap: 1rem;
  margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.scroll { overflow: auto; max-height: 26rem; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--card); color: var(--quiet); font-weight: 500;
  text-align: left; }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.path { min-width: 11rem; white-space: normal; overflow-wrap: anywhere; }
.path, code { font-family: ui-monospace, monospace; font-size: .92em; }
.number { text-align: right; padding-right: 0; } .quiet { color: var(--quiet); }
.good { color: var(--good); } .poor { color: var(--poor); } .bad { color: var(--bad); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg rect { fill: var(--accent); } svg line { stroke: var(--line); }
svg text { fill: var(--quiet); font-size: 11px; }
small { display: block; color: var(--quiet); font-size: .88em; }
meter { display: block; width: 100%; min-width: 6rem; height: .7rem; }
@media (max-width: 40rem) { body { padding: 1rem; }
  .figures { grid-template-columns: 1fr 1fr; } svg text { font-size: 20px; }
  svg text.inner { display: none; } td.path { min-width: 9rem; } }
"""
