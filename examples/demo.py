"""`make demo`: start the emulator on a free port and drive it as a user would."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import anyio

from asyncposthog import AsyncPostHog, PermissionDeniedError
from examples.export_demo import export_demo
from posthog_emulator import Emulator, serve

PERSONS = 5_000
COHORTS = 250


def say(text: str) -> None:
    """Print one line of what was done."""
    print(f"  {text}", flush=True)


class Progress:
    """A bar on a terminal, a line at each quarter elsewhere."""

    def __init__(self, total: int) -> None:
        """Start at nothing of `total`."""
        self._total = total
        self._shown = -1

    def show(self, done: int) -> None:
        """Draw the bar as it stands."""
        share = done / self._total
        if sys.stdout.isatty():
            filled = round(share * 30)
            end = "\n" if done == self._total else ""
            print(f"\r  [{'#' * filled}{'.' * (30 - filled)}] {done:,}", end=end, flush=True)
        elif int(share * 4) > self._shown:
            self._shown = int(share * 4)
            say(f"{share:4.0%}  {done:,} persons")


async def flags(ph: AsyncPostHog) -> None:
    """Create, change, delete and restore a feature flag."""
    flag = await ph.feature_flags.create(key="new-nav", name="New navigation", active=False)
    say(f"created feature flag {flag.key!r} with id {flag.id}")
    flag = await ph.feature_flags.update(flag.id, active=True)
    say(f"updated it: active is {flag.active}")
    await ph.feature_flags.delete(flag.id)
    left = [f.key async for f in ph.feature_flags.list()]
    say(f"deleted it (PATCH deleted=true): {len(left)} flags are listed")
    await ph.feature_flags.restore(flag.id)
    back = [f.key async for f in ph.feature_flags.list()]
    say(f"restored it: {back}")


async def lists(ph: AsyncPostHog) -> None:
    """Page through cohorts, one page at a time, item by item, and filtered."""
    page = await ph.cohorts.list(limit=100)
    say(f"first page of cohorts: {len(page.items)} of {page.count}")
    names = {cohort.name async for cohort in ph.cohorts.list(limit=100)}
    say(f"paged through all of them: {len(names)} cohorts")
    found = await ph.feature_flags.list(search="nav", active="true").collect()
    say(f"active flags with 'nav' in them: {[flag.key for flag in found]}")


async def nested(ph: AsyncPostHog) -> None:
    """Use a resource of the organization, and one nested below it."""
    role = await ph.organizations.roles.create(name="Analysts")
    me = await ph.users.me()
    memberships = ph.organizations.roles.role_memberships
    member = await memberships.create(role.id, user_uuid=me.uuid)
    everyone = await memberships.list(role.id).collect()
    say(f"nested resource: role {role.name!r} has member {member.id} ({len(everyone)} in all)")


async def upload(ph: AsyncPostHog, folder: Path) -> None:
    """Send a file as multipart form data."""
    table = folder / "sales.csv"
    table.write_text("day,amount\n2026-01-01,12\n", encoding="utf-8")
    await ph.warehouse_tables.file(file=table, name="sales", format="CSVWithNames")
    say(f"uploaded {table.name} ({table.stat().st_size} bytes) as a warehouse table")


async def failure(ph: AsyncPostHog) -> None:
    """Run into a missing scope and read what to do about it."""
    try:
        await ph.surveys.create(name="How was it?", type="popover")
    except PermissionDeniedError as error:
        say(f"a key without the scope: {error.status} {error.detail}")
        say(f"suggestion: {error.suggestion}")


async def export(ph: AsyncPostHog, folder: Path) -> int:
    """Write every person to a JSONL file, four pages in flight."""
    target, partial = folder / "persons.jsonl", folder / "persons.jsonl.part"
    progress, done = Progress(PERSONS), 0
    with partial.open("w", encoding="utf-8") as sink:
        async for page in ph.persons.list(limit=250, concurrency=4).pages():
            sink.writelines(json.dumps(person.raw()) + "\n" for person in page.items)
            done += len(page.items)
            progress.show(done)
    partial.replace(target)
    ids = {json.loads(line)["uuid"] for line in target.open(encoding="utf-8")}
    assert len(ids) == PERSONS, f"{len(ids)} of {PERSONS} persons"
    size = target.stat().st_size
    say(f"exported {len(ids):,} persons, each once, to {target.name} ({size:,} bytes)")
    return done


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
                    await failure(limited)
                exporting = time.perf_counter()
                count = await export(ph, folder)
                rate = count / (time.perf_counter() - exporting)
                say(f"that was {rate:,.0f} persons a second")
    requests = len(emulator.requests)
    print(f"{requests} requests in {time.perf_counter() - started:.1f} s")
    print("an emulator in a process of its own, and the program `asyncposthog export`")
    await export_demo()
    print(f"{time.perf_counter() - started:.1f} s in all; nothing is left running")


if __name__ == "__main__":
    anyio.run(main)
