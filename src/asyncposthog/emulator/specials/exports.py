"""Exports to files: the download is a redirect to an object store of another origin."""

from __future__ import annotations

from collections.abc import Mapping

from asyncposthog.emulator.messages import Answer
from asyncposthog.emulator.specials.table import Special
from asyncposthog.emulator.world import Call

__all__ = ["SPECIALS"]

_STORE = "https://object-store.invalid"


def _download(call: Call) -> Answer:
    call.locate(2)
    run, part = call.values[1], call.values[2] if len(call.values) > 2 else "0"
    location = f"{_STORE}/exports/{run}/{part}?signature=emulated"
    call.fidelity = "schema"
    return Answer(302, headers=[("Location", location), ("Cache-Control", "no-store")])


SPECIALS: Mapping[str, Special] = {
    "file_download_batch_exports.download": Special(_download),
    "file_download_batch_exports.download_part": Special(_download),
}
