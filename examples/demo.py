"""`make demo`: start the emulator on a free port and use it through the public API."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import anyio
from anyio import to_thread
from rich.console import Console

from asyncposthog import AsyncPostHog, PermissionDeniedError, recipes
from asyncposthog.recipes.terminal_charts import render
from examples.export_demo import export_demo
from posthog_emulator import Emulator, serve

PERSONS = 5_000
COHORTS = 250
EVENTS = 5_000


def print_step(text: str) -> None:
    """Print an indented line about a step that was done."""
    print(f"  {text}", flush=True)


class Progress:
    """A progress bar on a terminal; a line at each quarter otherwise."""

    def __init__(self, total: int) -> None:
        """Start a display for `total` persons."""
        self._total = total
        self._last_quarter = -1

    def show(self, done: int) -> None:
        """Show that `done` persons are exported."""
        share = done / self._total
        if sys.stdout.isatty():
            filled = round(share * 30)
            end = "\n" if done == self._total else ""
            print(f"\r  [{'#' * filled}{'.' * (30 - filled)}] {done:,}", end=end, flush=True)
        elif int(share * 4) > self._last_quarter:
            self._last_quarter = int(share * 4)
            print_step(f"{share:4.0%}  {done:,} persons")


async def flags(ph: AsyncPostHog) -> None:
    """Create, change, delete and restore a feature flag."""
    flag = await ph.feature_flags.create(key="new-nav", name="New navigation", active=False)
    print_step(f"created feature flag {flag.key!r} with id {flag.id}")
    flag = await ph.feature_flags.update(flag.id, active=True)
    print_step(f"updated it: active is {flag.active}")
    await ph.feature_flags.delete(flag.id)
    remaining = [f.key async for f in ph.feature_flags.list()]
    print_step(f"deleted it (PATCH deleted=true): {len(remaining)} flags are listed")
    await ph.feature_flags.restore(flag.id)
    restored = [f.key async for f in ph.feature_flags.list()]
    print_step(f"restored it: {restored}")


async def lists(ph: AsyncPostHog) -> None:
    """List cohorts by page and by item, and feature flags with filters."""
    page = await ph.cohorts.list(limit=100)
    print_step(f"first page of cohorts: {len(page.items)} of {page.count}")
    names = {cohort.name async for cohort in ph.cohorts.list(limit=100)}
    print_step(f"paged through all of them: {len(names)} cohorts")
    active = await ph.feature_flags.list(search="nav", active="true").collect()
    print_step(f"active flags with 'nav' in them: {[flag.key for flag in active]}")


async def nested(ph: AsyncPostHog) -> None:
    """Use a resource of the organization, and a resource nested below it."""
    role = await ph.organizations.roles.create(name="Analysts")
    me = await ph.users.me()
    memberships = ph.organizations.roles.memberships
    member = await memberships.create(role.id, user_uuid=me.uuid)
    members = await memberships.list(role.id).collect()
    print_step(
        f"nested resource: role {role.name!r} has member {member.id} ({len(members)} in all)"
    )


async def upload(ph: AsyncPostHog, folder: Path) -> None:
    """Send a file as multipart form data."""
    table = folder / "sales.csv"
    table.write_text("day,amount\n2026-01-01,12\n", encoding="utf-8")
    await ph.warehouse_tables.upload(file=table, name="sales", format="CSVWithNames")
    print_step(f"uploaded {table.name} ({table.stat().st_size} bytes) as a warehouse table")


async def missing_scope(ph: AsyncPostHog) -> None:
    """Call a method without the scope that it needs, and print the suggestion."""
    try:
        await ph.surveys.create(name="How was it?", type="popover")
    except PermissionDeniedError as error:
        print_step(f"a key without the scope: {error.status} {error.detail}")
        print_step(f"suggestion: {error.suggestion}")


async def export(ph: AsyncPostHog, folder: Path) -> int:
    """Write every person to a JSONL file, with four pages requested at a time."""
    target, partial = folder / "persons.jsonl", folder / "persons.jsonl.part"
    progress, done = Progress(PERSONS), 0
    with partial.open("w", encoding="utf-8") as file:
        async for page in ph.persons.list(limit=250, concurrency=4).pages():
            file.writelines(json.dumps(person.raw()) + "\n" for person in page.items)
            done += len(page.items)
            progress.show(done)
    partial.replace(target)
    ids = {json.loads(line)["uuid"] for line in target.open(encoding="utf-8")}
    assert len(ids) == PERSONS, f"{len(ids)} of {PERSONS} persons"
    size = target.stat().st_size
    print_step(f"exported {len(ids):,} persons, each once, to {target.name} ({size:,} bytes)")
    return done


async def chart(ph: AsyncPostHog, emulator: Emulator) -> None:
    """Show where the visitors of a demo product drop out of a funnel."""
    await to_thread.run_sync(lambda: emulator.add_demo_events(EVENTS, seed=1))
    steps = ["$pageview", "signed up", "project created", "purchase completed"]
    funnel = await recipes.funnel_drop_off(ph, steps, days=90)
    print_step(f"a recipe, over {EVENTS:,} events of a demo product:\n")
    Console(highlight=False, emoji=False).print(render(funnel.figure(), 100), soft_wrap=True)


async def main() -> None:
    """Run the whole demonstration."""
    started = time.perf_counter()
    emulator = Emulator()
    emulator.seed("cohorts", COHORTS)
    emulator.seed("persons", PERSONS)
    emulator.add_key("phx_reader", scopes=["survey:read"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with serve(emulator) as url:
            print(f"the emulator listens on {url}")
            async with AsyncPostHog(api_key=emulator.key, project_id=1, host=url) as ph:
                await flags(ph)
                await lists(ph)
                await nested(ph)
                await upload(ph, folder)
                async with AsyncPostHog(api_key="phx_reader", project_id=1, host=url) as limited:
                    await missing_scope(limited)
                exporting = time.perf_counter()
                count = await export(ph, folder)
                rate = count / (time.perf_counter() - exporting)
                print_step(f"that was {rate:,.0f} persons a second")
                await chart(ph, emulator)
    requests = len(emulator.requests)
    print(f"{requests} requests in {time.perf_counter() - started:.1f} s")
    print("an emulator in a separate process, and the command `asyncposthog export`")
    await export_demo()
    print(f"{time.perf_counter() - started:.1f} s in total; nothing is left running")


if __name__ == "__main__":
    anyio.run(main)
