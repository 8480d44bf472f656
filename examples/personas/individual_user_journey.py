"""Customer success: what has this user been doing?"""

from __future__ import annotations

from asyncposthog import AsyncPostHog, recipes
from examples.personas.demo_project import NOW, run


async def main(ph: AsyncPostHog, distinct_id: str = "user-000001") -> None:
    """Print the sessions of a user: when, how long, and what happened."""
    journey = await recipes.user_journey(ph, distinct_id, days=90, end=NOW)
    print(f"{distinct_id}: {len(journey)} events in {journey.sessions} sessions")
    sessions: dict[str | None, list[recipes.JourneyEvent]] = {}
    for step in journey:
        sessions.setdefault(step.session_id, []).append(step)
    for steps in list(sessions.values())[-5:]:
        first, last = steps[0].timestamp, steps[-1].timestamp
        what = ", ".join(dict.fromkeys(step.event for step in steps))
        print(f"  {first:%d %b %H:%M}, {(last - first).seconds // 60} min: {what}")


if __name__ == "__main__":
    run(main)
