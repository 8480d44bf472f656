"""Product engineer: what errors are affecting users?"""

from __future__ import annotations

from asyncposthog import AsyncPostHog, recipes
from examples.personas.demo_project import NOW, run


async def main(ph: AsyncPostHog) -> None:
    """List the errors, and what the person who had the first one did before it."""
    errors = await recipes.error_impact(ph, outcome="document created", days=90, end=NOW)
    for error in errors:
        print(
            f"{error.type}: {error.persons} persons ({error.share:.1%}), "
            f"last seen {error.last_seen:%d %b}; ended {error.sessions_ended} of "
            f"{error.sessions} sessions"
        )
    if not errors.rows:
        return
    worst = errors[0]
    affected = await ph.query(
        "SELECT distinct_id, timestamp FROM events WHERE event = '$exception' "
        "AND properties.$exception_types.1 = {type} ORDER BY timestamp DESC LIMIT 1",
        {"type": worst.type},
    )
    distinct_id, time = affected[0]
    journey = await recipes.user_journey(ph, distinct_id, days=1, end=time)
    print(f"before the latest {worst.type}, {distinct_id} did:")
    for step in journey.rows[-5:]:
        print(f"  {step.timestamp:%H:%M:%S} {step.event} {step.url or ''}")


if __name__ == "__main__":
    run(main)
