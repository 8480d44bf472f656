"""Customer success: who are our power users, and who of them is leaving?"""

from __future__ import annotations

from asyncposthog import AsyncPostHog, recipes
from examples.personas.demo_project import NOW, run


async def main(ph: AsyncPostHog) -> None:
    """List the most active persons, and those who have stopped."""
    users = await recipes.power_users(ph, min_events=20, limit=5, end=NOW)
    for user in users:
        name = user.email or user.distinct_id
        print(f"{name}: {user.events} events on {user.active_days} days")
    leaving = await recipes.churn_risk(ph, min_events=20, limit=3, end=NOW)
    for user in leaving:
        name = user.email or user.distinct_id
        print(f"at risk: {name}, not seen for {user.days_inactive:.0f} days")


if __name__ == "__main__":
    run(main)
