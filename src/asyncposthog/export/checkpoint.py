"""A file that says how far an export is: written after what it speaks of is safe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydantic_core import from_json, to_json

from asyncposthog.errors import ExportError
from asyncposthog.export.engines.base import Tally

from .atomic_files import read, translate_os_errors, write_atomically
from .checkpoint_schema import Shape, is_object, nothing, optional, record, tally_state

__all__ = [
    "Checkpoint",
    "check",
    "damaged",
    "default_path",
    "differences",
    "load",
    "render",
    "save",
    "verify",
]

_VERSION: Final = 2
_LARGEST: Final = 256 * 1024 * 1024
"""Bytes. A file that is larger is no checkpoint."""
_FILE: Final = re.compile(
    rb'\{"version":([0-9]{1,9}),"sha256":"([0-9a-f]{64})",\n"checkpoint":(.*)\}\n', re.DOTALL
)
_FIELDS: Final = record(
    {
        "identity": is_object,
        "settled": optional(is_object),
        "phase": lambda value: value in ("running", "finishing", "done"),
        "position": optional(is_object),
        "sink": optional(is_object),
        "tally": tally_state,
        "memory": optional(is_object),
    }
)


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
    tally: Mapping[str, Any] = field(default_factory=lambda: asdict(Tally()))
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
        ExportError: It cannot be read, is damaged, or is of another version.
    """
    try:
        content = read(path, _LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ExportError(
            f"The checkpoint {path} cannot be read: {error}.",
            suggestion="Name another file, or remove it.",
        ) from error
    found = _FILE.fullmatch(content) if len(content) <= _LARGEST else None
    version = _version(content) if found is None else int(found[1])
    if version is not None and version != _VERSION:
        raise ExportError(
            f"The checkpoint {path} was written by another version of asyncposthog.",
            suggestion="Finish with that version, or remove it, and what the export left of its "
            "output, to begin anew.",
        )
    if found is None:
        if b'"checkpoint":' in content[:200]:
            raise damaged(path, "it is cut short or changed")
        raise ExportError(f"{path} is no checkpoint of an export.", suggestion="Name another file.")
    if sha256(found[3]).hexdigest() != found[2].decode():
        raise damaged(path, "its checksum is wrong")
    try:
        data: object = from_json(found[3], allow_inf_nan=False)
    except ValueError:
        raise damaged(path, "it is not JSON") from None
    if not _FIELDS(data):
        raise damaged(path, "a field is missing, unknown or of the wrong type")
    return Checkpoint(**cast("dict[str, Any]", data))


def _version(content: bytes) -> int | None:
    """Return the version of a checkpoint whose form is not today's, if it is one."""
    try:
        data: object = from_json(content)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    fields = cast("dict[str, object]", data)
    version = fields.get("version")
    return version if type(version) is int and fields.keys() & {"identity", "checkpoint"} else None


def damaged(path: Path, why: str) -> ExportError:
    """Return the error for a checkpoint that cannot be trusted."""
    return ExportError(
        f"The checkpoint {path} is damaged: {why}.",
        suggestion="To begin anew, remove it and what the export left of its output; or give "
        "another checkpoint and another output.",
    )


def verify(
    path: Path,
    found: Checkpoint,
    *,
    settled: Shape,
    position: Shape,
    sink: Shape,
    memory: Shape,
) -> None:
    """Refuse a checkpoint whose parts are not what the export has written.

    Args:
        path: The checkpoint's.
        found: What it says, which is of the same export.
        settled: The shape of what was decided.
        position: The shape of positions.
        sink: The shape of the sink's state.
        memory: The shape of what is remembered of delivered rows.

    Raises:
        ExportError: A part is not.
    """
    running, begun = found.phase == "running", found.sink is not None
    shapes = {
        "settled": settled,
        "sink": sink if begun or not running else nothing,
        # Only a run that goes on has one: behind the rows that its sink has.
        "position": position if running and begun else nothing,
        "memory": memory,
    }
    for name, shape in shapes.items():
        if not shape(getattr(found, name)):
            raise damaged(path, f"{name} is not what an export writes")
    if found.memory is not None and running:
        follows = found.memory["until"] is not None
        if follows != (found.settled["from"] is not None) or (found.memory["base"] and not follows):
            raise damaged(path, "memory and settled contradict each other")


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
    content = render(
        {
            "identity": checkpoint.identity,
            "settled": checkpoint.settled,
            "phase": checkpoint.phase,
            "position": checkpoint.position,
            "sink": checkpoint.sink,
            "tally": checkpoint.tally,
            "memory": checkpoint.memory,
        }
    )
    with translate_os_errors(path):
        write_atomically(path, content)


def render(fields: Mapping[str, Any]) -> bytes:
    """Return the content of a checkpoint file: JSON, with the SHA-256 of the bytes of its fields.

    Args:
        fields: Those of the checkpoint.
    """
    body = to_json(fields)
    head = f'{{"version":{_VERSION},"sha256":"{sha256(body).hexdigest()}",\n"checkpoint":'
    return head.encode() + body + b"}\n"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield in words what is not the same."""
    for name in sorted({*old, *new}):
        before, now = (from_json(to_json(side.get(name))) for side in (old, new))
        if before != now:
            yield f"{name} was {before!r:.200} and is {now!r:.200}"
