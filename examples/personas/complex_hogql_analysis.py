"""Data analyst: complex behavioural pattern analysis."""

from __future__ import annotations

from datetime import timedelta

from asyncposthog import AsyncPostHog
from examples.personas.demo_project import NOW, run

SQL = """
SELECT browser, count() AS sessions, avg(events) AS events_per_session,
    countIf(edited) AS with_edits, quantile(0.9)(minutes) AS long_minutes
FROM (
    SELECT $session_id AS session, any(properties.$browser) AS browser, count() AS events,
        countIf(event = {edit}) > 0 AS edited,
        dateDiff('second', min(timestamp), max(timestamp)) / 60 AS minutes
    FROM events WHERE timestamp >= {since} AND $session_id != '' GROUP BY session
)
GROUP BY browser HAVING sessions >= {least} ORDER BY sessions DESC LIMIT 20
"""


async def main(ph: AsyncPostHog) -> None:
    """Ask a question of one's own in HogQL, and continue with it in Polars."""
    values = {"edit": "document edited", "since": NOW - timedelta(days=60), "least": 5}
    result = await ph.query(SQL, values)
    table = result.to_polars()
    print(table.with_columns(edit_rate=table["with_edits"] / table["sessions"]))


if __name__ == "__main__":
    run(main)
