"""A file that says how far an export is: written after what it speaks of is safe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydantic_core import from_json, to_json

from asyncposthog.errors import ExportError

from .durable import clear_errors, write_atomically

__all__ = ["Checkpoint", "check", "default_path", "differences", "load", "save"]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far an export is."""

    identity: Mapping[str, Any]
    """What is exported, and whereto."""
    settled: Any = None
    """What was decided when the export began."""
    phase: Literal["running", "finishing", "done"] = "running"
    """`finishing`: all is written, and about to get its name."""
    position: Any = None
    """Where the engine goes on."""
    sink: Mapping[str, Any] | None = None
    """Where the sink goes on; None: from the beginning."""
    tally: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The counters."""
    memory: Mapping[str, Any] | None = None
    """Of an export with an overlap: where it is kept what was delivered."""

    def at(self, **changes: Any) -> Checkpoint:
        """Return a later one."""
        return replace(self, **changes)


def default_path(output: Path, form: str) -> Path:
    """Return where the checkpoint of an export is if nobody named another place.

    Args:
        output: The file; for Parquet, the folder.
        form: `jsonl`, `csv` or `parquet`.
    """
    if form == "parquet":
        return output / ".checkpoint"
    return output.with_name(f".{output.name}.checkpoint")


def load(path: Path) -> Checkpoint | None:
    """Return a checkpoint; None where there is none.

    Raises:
        ExportError: It cannot be read.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ExportError(
            f"The checkpoint {path} cannot be read: {error}.",
            suggestion="Name another file, or remove it.",
        ) from error
    try:
        data = cast("dict[str, Any]", from_json(content))
        version = data.pop("version")
        found = Checkpoint(**data)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ExportError(
            f"{path} is no checkpoint of an export.", suggestion="Name another file."
        ) from None
    if version != _VERSION:
        raise ExportError(
            f"The checkpoint {path} was written by another version of asyncposthog.",
            suggestion="Finish with that version, or remove it to begin anew.",
        )
    return found


def check(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of something else.

    Args:
        path: The checkpoint's.
        old: What it says was exported.
        new: What is to be exported.

    Raises:
        ExportError: They differ.
    """
    changed = list(differences(old, new))
    if changed:
        raise ExportError(
            f"The checkpoint {path} is that of another export: {'; '.join(changed)}.",
            suggestion="Ask for the same again to go on, or name another checkpoint and output.",
        )


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replace a checkpoint."""
    content = {
        "version": _VERSION,
        "identity": checkpoint.identity,
        "settled": checkpoint.settled,
        "phase": checkpoint.phase,
        "position": checkpoint.position,
        "sink": checkpoint.sink,
        "tally": checkpoint.tally,
        "memory": checkpoint.memory,
    }
    with clear_errors(path):
        write_atomically(path, to_json(content))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield in words what is not the same."""
    for name in sorted({*old, *new}):
        before, now = (from_json(to_json(side.get(name))) for side in (old, new))
        if before != now:
            yield f"{name} was {before!r:.200} and is {now!r:.200}"
