"""Draw the picture of each recipe for the documentation, from the emulator's demo data.

`python scripts/recipe_pictures.py [FOLDER] [--format svg|png]`. The same demo data gives the same
pictures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from asyncposthog import AsyncPostHog, recipes
from posthog_emulator import Emulator

ROOT = Path(__file__).resolve().parent.parent
END = datetime(2026, 3, 2, tzinfo=UTC)
"""The end of the demo data, a Monday."""


async def draw_all(folder: Path, suffix: str) -> None:
    """Write a picture of each recipe to a folder."""
    with Emulator() as emulator, tempfile.TemporaryDirectory() as name:
        emulator.settings.clock = lambda: END
        emulator.add_demo_data(20_000, seed=7, until=END)
        async with AsyncPostHog.emulated(emulator) as ph:
            for title, result in all_recipes(ph, Path(name) / "warehouse").items():
                (await result).save(folder / f"{title}{suffix}")
                print(folder / f"{title}{suffix}", flush=True)


def all_recipes(ph: AsyncPostHog, warehouse: Path) -> dict[str, Awaitable[Any]]:
    """Return a call of each recipe that shows what it is for."""
    funnel = ["$pageview", "signed up", "project created", "purchase completed"]
    return {
        "power-users": recipes.power_users(ph, days=90, limit=12, end=END),
        "churn-risk": recipes.churn_risk(ph, limit=12, end=END),
        "funnel": recipes.funnel_drop_off(ph, funnel, days=90, end=END),
        "funnel-breakdown": recipes.funnel_drop_off(
            ph, funnel, breakdown="$device_type", days=90, end=END
        ),
        "feature-impact": recipes.feature_impact(
            ph, "assistant used", datetime(2026, 1, 19, tzinfo=UTC), days=28
        ),
        "error-impact": recipes.error_impact(ph, outcome="document created", days=90, end=END),
        "cohort-comparison": recipes.cohort_comparison(
            ph, {"paid": 1, "free": {"plan": "free"}}, outcome="document shared", days=90, end=END
        ),
        "marketing-channels": recipes.marketing_channels(
            ph, "signed up", "purchase completed", revenue="amount", days=90, limit=8, end=END
        ),
        "user-journey": recipes.user_journey(ph, "user-000006", days=60, end=END),
        "retention": recipes.retention(ph, "signed up", periods=10, end=END),
        "trends": recipes.trends(
            ph, ["$pageview", "document edited", "signed up"], periods=60, end=END
        ),
        "stickiness": recipes.stickiness(ph, periods=14, end=END),
        "lifecycle": recipes.lifecycle(ph, end=END),
        "warehouse-sync": recipes.warehouse_sync(
            ph, warehouse, start=datetime(2026, 2, 1, tzinfo=UTC), end=END
        ),
    }


def main() -> None:
    """Parse the arguments and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs/images/recipes")
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    anyio.run(draw_all, options.folder, f".{options.format}")


if __name__ == "__main__":
    main()
